import { describe, expect, it } from "vitest";
import { fill, languageOf } from "../src/i18n";
import { en } from "../src/i18n/en";
import { zh } from "../src/i18n/zh";

const names = (text: string) => (text.match(/\{\w+\}/g) ?? []).sort();

describe("catalogues", () => {
  it("have the same keys", () => {
    expect(Object.keys(zh).sort()).toEqual(Object.keys(en).sort());
  });

  it.each(Object.keys(en) as (keyof typeof en)[])("%s is written, with the same values", (key) => {
    expect(zh[key].trim()).not.toBe("");
    expect(names(zh[key])).toEqual(names(en[key]));
  });
});

describe("languageOf", () => {
  it.each([
    [["de-DE", "zh-TW", "en"], "zh"],
    [["en-GB", "zh"], "en"],
    [["fr"], "en"],
    [[], "en"],
  ])("%j is %s", (wanted, language) => {
    expect(languageOf(wanted)).toBe(language);
  });
});

it("a value without a name stays as it is", () => {
  expect(fill("{a} and {b}", { a: 1 })).toBe("1 and {b}");
});
