import { expect, it } from "vitest";
import { recalled, withPrompt } from "../src/state/recall";

const LIST = ["newest", "older", "oldest"];

it("the newest prompt comes first, each once, and the list has an end", () => {
  expect(withPrompt(["a", "b"], " b ")).toEqual(["b", "a"]);
  expect(withPrompt(["a"], "  ")).toEqual(["a"]);
  let list: readonly string[] = [];
  for (let i = 0; i < 300; i += 1) list = withPrompt(list, String(i));
  expect(list.length).toBe(100);
  expect(list[0]).toBe("299");
});

it("arrow-up goes back from an empty prompt, and arrow-down forth to it", () => {
  expect(recalled(LIST, "", null, "ArrowUp")).toBe("newest");
  expect(recalled(LIST, "newest", "newest", "ArrowUp")).toBe("older");
  expect(recalled(LIST, "oldest", "oldest", "ArrowUp")).toBeNull();
  expect(recalled(LIST, "older", "older", "ArrowDown")).toBe("newest");
  expect(recalled(LIST, "newest", "newest", "ArrowDown")).toBe("");
});

it("what is typed by hand is never replaced", () => {
  expect(recalled(LIST, "a fox", null, "ArrowUp")).toBeNull();
  expect(recalled(LIST, "newest, by hand", "newest", "ArrowUp")).toBeNull();
  expect(recalled(LIST, "newest", null, "ArrowUp")).toBeNull();
  expect(recalled(LIST, "", null, "ArrowDown")).toBeNull();
  expect(recalled(LIST, "", null, "x")).toBeNull();
});
