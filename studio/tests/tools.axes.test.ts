import { describe, expect, it } from "vitest";
import { type AxisKind, cell, fault, order, parse } from "../src/tools/_parts/axes";

const read = (kind: AxisKind, text: string, names: string[] = []) =>
  parse({ kind, text }, names).values;
const wrong = (kind: AxisKind, text: string, names: string[] = []) =>
  parse({ kind, text }, names).wrong?.key;

describe("values of an axis", () => {
  it.each<[AxisKind, string, unknown[]]>([
    ["seed", "1,2, 4", [1, 2, 4]],
    ["seed", "1..4", [1, 2, 3, 4]],
    ["seed", "1..8 by 3", [1, 4, 7]],
    ["seed", "7", [7]],
    ["seed", "1、3,5", [1, 3, 5]],
    ["eta", "0..1 by 0.1", [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]],
    ["guidance", "1, 2.5, 4..6", [1, 2.5, 4, 5, 6]],
    ["steps", "2 to 4", [2, 3, 4]],
    ["words", "a fox | a cat|owl", ["a fox", "a cat", "owl"]],
    ["words", "red, round | blue", ["red, round", "blue"]],
    ["negative", " | blurry", ["", "blurry"]],
    ["none", "whatever", [""]],
  ])("%s: %j is %j", (kind, text, values) => {
    expect(read(kind, text)).toEqual(values);
  });

  it("are names that the model has", () => {
    expect(read("sampler", "ddim, euler a", ["ddim", "euler a"])).toEqual(["ddim", "euler a"]);
    expect(wrong("sampler", "ddim, magic", ["ddim"])).toBe("sweep.wrong.name");
  });

  it.each<[AxisKind, string, string]>([
    ["seed", "", "empty"],
    ["words", " | ", "empty"],
    ["seed", "one", "number"],
    ["seed", "1..x", "number"],
    ["steps", "1.5", "whole"],
    ["steps", "0", "low"],
    ["seed", "4..1", "range"],
    ["seed", "1..4 by 0", "range"],
    ["seed", "1..1000000000", "many"],
    ["seed", "1, 2, 1", "twice"],
  ])("%s: %j is refused: %s", (kind, text, key) => {
    expect(wrong(kind, text)).toBe(`sweep.wrong.${key}`);
  });
});

describe("two axes", () => {
  it("may not change the same", () => {
    const seed = { kind: "seed", text: "" } as const;
    expect(fault("a fox", seed, seed, [1], [1])?.key).toBe("sweep.wrong.both");
  });

  it("replace words that the prompt has", () => {
    const words = { kind: "words", text: "" } as const;
    const none = { kind: "none", text: "" } as const;
    expect(fault("a fox", words, none, ["fox", "cat"], [""])).toBeNull();
    expect(fault("a fox", words, none, ["owl", "cat"], [""])?.values).toEqual({ value: "owl" });
  });
});

it("cells are in the order of reading", () => {
  expect(order(3, 2).map(({ x, y }) => `${x}${y}`)).toEqual(["00", "10", "20", "01", "11", "21"]);
});

describe("a cell", () => {
  it("has the seed of all, and what its axes change", () => {
    const made = cell("a red fox", 7, [
      { kind: "words", values: ["red", "blue"], at: 1 },
      { kind: "guidance", values: [1, 3], at: 1 },
    ]);
    expect(made).toEqual({
      fields: { prompt: "a blue fox", seed: 7, n: 1 },
      settings: { guidance_scale: 3 },
    });
  });

  it("has its own seed where that is an axis", () => {
    const made = cell("a fox", 7, [
      { kind: "seed", values: [1, 2], at: 0 },
      { kind: "prior", values: ["prior", "ar_prior"], at: 1 },
    ]);
    expect(made.fields).toEqual({ prompt: "a fox", seed: 1, n: 1, prior: "ar_prior" });
  });
});
