import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
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

/** The page's source, but for the catalogues. */
function sourceIn(folder: string): string {
  return readdirSync(folder, { withFileTypes: true })
    .map((one) => {
      const path = join(folder, one.name);
      if (one.isDirectory()) return ["en", "zh"].includes(one.name) ? "" : sourceIn(path);
      return /\.tsx?$/.test(one.name) ? readFileSync(path, "utf8") : "";
    })
    .join("\n");
}

it("every text is used", () => {
  const source = sourceIn(join(__dirname, "../src"));
  // Keys that are put together, such as `stage.${name}`; a key of anything at all is none.
  const made = [...source.matchAll(/`(\w+\.(?:[\w.]|\$\{[^}]*\})*)`/g)].map(
    ([, text = ""]) =>
      new RegExp(`^${text.replaceAll(".", "\\.").replace(/\$\{[^}]*\}/g, "[\\w.]+")}$`),
  );
  const isUsed = (key: string) => source.includes(`"${key}"`) || made.some((one) => one.test(key));
  const unused = Object.keys(en).filter(
    (key) => !isUsed(key) && !isUsed(key.replace(/\.one$/, "")),
  );
  expect(unused.filter((key) => !key.endsWith(".title"))).toEqual([]);
});
