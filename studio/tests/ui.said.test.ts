import { expect, it } from "vitest";
import type { Job } from "../src/api/types";
import { explained, speak, t } from "../src/i18n";
import { toSay } from "../src/ui/said";
import { helpOf } from "../src/ui/schema";

const job = (id: string, state: Job["state"], created: number) =>
  ({ id, state, created }) as unknown as Job;

it("speaks of what is drawn, else of the newest, but not of a sweep's cells", () => {
  const all = [job("new", "done", 100), job("runs", "running", 90), job("old", "queued", 80)];
  const of = (sweeps: string[], now = 101) => toSay(all, new Set(sweeps), now)?.id;
  expect(of([])).toBe("runs");
  expect(of(["runs"])).toBe("new");
  expect(of(["runs", "new", "old"])).toBeUndefined();
  expect(of([], 10_000)).toBeUndefined();
});

it("one picture is said of as one", () => {
  speak("en");
  expect(t("job.said.done", { n: 1 })).toBe("1 picture is ready.");
  expect(t("job.said.done", { n: 2 })).toBe("2 pictures are ready.");
});

it("frequent errors and the help of fields are told in the user's language", () => {
  speak("zh");
  expect(explained("memory", "there is not enough memory")).toBe(
    "服务器内存不足,请减少张数或缩小尺寸。",
  );
  expect(explained("content_policy", "no cats")).toContain("no cats");
  expect(explained("invalid_value", "steps must be 1 or more")).toBe("steps must be 1 or more");
  expect(helpOf("steps")).toBe("步数越多越慢,也越精细。");
  expect(helpOf("magic")).toBe("");
  speak("en");
});
