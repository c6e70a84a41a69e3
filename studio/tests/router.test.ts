import { expect, it } from "vitest";
import { href, placeOf } from "../src/router";

it.each([
  ["", "make", ""],
  ["#/", "make", ""],
  ["#/edit/ab%20c", "edit", "ab c"],
  ["#/edit/%", "edit", "%"],
  ["#/gallery?q=a%20fox", "gallery", ""],
])("%s leads to %s", (hash, tool, argument) => {
  expect(placeOf(hash)).toMatchObject({ tool, argument });
});

it("an address is read back as it was made", () => {
  const there = placeOf(href("sweep", "a/b?c", { q: "red & blue" }));
  expect(there).toMatchObject({ tool: "sweep", argument: "a/b?c" });
  expect(there.query.get("q")).toBe("red & blue");
});
