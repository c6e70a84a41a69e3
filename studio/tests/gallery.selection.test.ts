import { expect, it } from "vitest";
import { every, extend, NONE, toggle, within } from "../src/gallery/selection";

const ORDER = ["a", "b", "c", "d", "e"];
const chosen = (of: { chosen: ReadonlySet<string> }) => [...of.chosen].sort().join("");

it("what is toggled twice is as before", () => {
  expect(chosen(toggle(toggle(NONE, "a"), "a"))).toBe("");
  expect(chosen(toggle(toggle(NONE, "a"), "b"))).toBe("ab");
  expect(NONE.chosen.size).toBe(0);
});

it("a range has both ends, in either direction, and turns about its anchor", () => {
  const begun = toggle(NONE, "c");
  expect(chosen(extend(begun, ORDER, "e"))).toBe("cde");
  expect(chosen(extend(begun, ORDER, "a"))).toBe("abc");
  expect(chosen(extend(extend(begun, ORDER, "d"), ORDER, "b"))).toBe("bcd");
});

it("a range keeps what was chosen before", () => {
  expect(chosen(extend(toggle(toggle(NONE, "a"), "d"), ORDER, "e"))).toBe("ade");
});

it("a range without a begin, or whose begin is gone, is what it leads to", () => {
  expect(chosen(extend(NONE, ORDER, "b"))).toBe("b");
  expect(chosen(extend(toggle(NONE, "x"), ORDER, "b"))).toBe("bx");
});

it("all are chosen, and those that go are not chosen any more", () => {
  const all = every(ORDER);
  expect(chosen(all)).toBe("abcde");
  expect(chosen(within(all, ["b", "d", "z"]))).toBe("bd");
  expect(within(all, ORDER)).toBe(all);
});
