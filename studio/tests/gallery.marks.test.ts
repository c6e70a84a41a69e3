import { describe, expect, it } from "vitest";
import { counted, marked, namesIn, suggested } from "../src/gallery/marks";

const picture = (tags: string[], collections: string[] = []) => ({ tags, collections });

it("a change adds what is not there, takes what is, and leaves the picture before as it was", () => {
  const one = picture(["b", "a"], ["x"]);
  const next = marked(one, { add_tags: ["c", "a"], remove_tags: ["b"], add_collections: ["y"] });
  expect(next).toEqual(picture(["a", "c"], ["x", "y"]));
  expect(marked(next, { remove_collections: ["x", "z"] }).collections).toEqual(["y"]);
  expect(one).toEqual(picture(["b", "a"], ["x"]));
});

it("tags of several pictures are counted, in order of the alphabet", () => {
  const some = [picture(["sea", "dog"]), picture(["dog"]), picture([])];
  expect([...counted(some, "tags")]).toEqual([
    ["dog", 2],
    ["sea", 1],
  ]);
});

describe("suggested", () => {
  const known = { sea: 1, seaside: 5, "deep sea": 9, dog: 20 };
  it.each([
    ["", [], ["dog", "deep sea", "seaside", "sea"]],
    ["SE", [], ["seaside", "sea", "deep sea"]],
    ["se", ["seaside"], ["sea", "deep sea"]],
    ["cat", [], []],
  ])("for %j beside %j: %j", (typed, own, names) => {
    expect(suggested(known, own, typed)).toEqual(names);
  });
});

it("names stand between commas, also Chinese ones", () => {
  expect(namesIn(" sea, dog ,,sea,海、 山 ")).toEqual(["sea", "dog", "海", "山"]);
  expect(namesIn(" , ")).toEqual([]);
});
