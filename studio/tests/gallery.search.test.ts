import { expect, it } from "vitest";
import { EVERYTHING, keyOf, queryOf, type Search, searchOf } from "../src/gallery/search";
import { href, placeOf } from "../src/router";

const SEARCHES: Search[] = [
  EVERYTHING,
  { ...EVERYTHING, q: "a red & blue = fox?#/%" },
  { ...EVERYTHING, q: "一只企鹅", tag: "海 & sun" },
  { ...EVERYTHING, collection: "00ff", favourites: true },
  { ...EVERYTHING, q: "x", deleted: true },
];

it.each(SEARCHES)("the address of %j leads back to it", (search) => {
  const there = placeOf(href("gallery", "", queryOf(search)));
  expect(there.tool).toBe("gallery");
  expect(searchOf(there.query)).toEqual(search);
});

it("all pictures have an address without a query", () => {
  expect(href("gallery", "", queryOf(EVERYTHING))).toBe("#/gallery");
});

it("equal searches have equal keys, whatever their order", () => {
  const one = searchOf(new URLSearchParams("tag=a&q= b &favourites=true"));
  const other = searchOf(new URLSearchParams("favourites=true&q=b&tag=a&deleted=no&x=1"));
  expect(keyOf(one)).toBe(keyOf(other));
  expect(keyOf(one)).not.toBe(keyOf({ ...one, q: "c" }));
});
