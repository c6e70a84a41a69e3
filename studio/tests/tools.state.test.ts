import { expect, it } from "vitest";
import type { Job } from "../src/api/types";
import { flat, unflat } from "../src/state/form";
import { type Cell, isEnded, nextOf, pending, type Sweep, told } from "../src/state/sweep";
import { swapped } from "../src/tools/interpolate";

const KNOWN = {
  prior: { steps: { name: "prior_steps" }, eta: { name: "prior_eta" } },
  decoder: { steps: { name: "steps" }, guidance_scale: { name: "guidance_scale" } },
};

it("settings are sent flat, under the model's names, and read back", () => {
  const stages = { prior: { steps: 4 }, decoder: { steps: 6, guidance_scale: 2 } };
  const sent = { prior_steps: 4, steps: 6, guidance_scale: 2 };
  expect(flat(stages, KNOWN)).toEqual(sent);
  expect(unflat(sent, KNOWN)).toEqual(stages);
});

it("settings that the model does not have are not sent", () => {
  expect(flat({ decoder: { magic: 1 }, other: { steps: 2 } }, KNOWN)).toEqual({});
});

const cell = (by: Partial<Cell>): Cell => ({
  x: 0,
  y: 0,
  asked: { ability: "generate", fields: {} },
  job: "",
  state: "",
  picture: null,
  reason: "",
  ...by,
});
const sweep = (...cells: Partial<Cell>[]): Sweep => ({
  title: "",
  axes: [],
  cells: cells.map(cell),
  going: true,
});

it("asks for as many cells at a time as it may, in order", () => {
  expect(nextOf(sweep({}, {}, {}), 2)).toBe(0);
  expect(nextOf(sweep({ job: "a", state: "done" }, { job: "b", state: "running" }, {}), 2)).toBe(2);
  expect(nextOf(sweep({ job: "a", state: "queued" }, { job: "b", state: "running" }, {}), 2)).toBe(
    -1,
  );
  expect(nextOf(sweep({ job: "a", state: "done" }, { state: "failed" }), 2)).toBe(-1);
});

it("counts what has not ended", () => {
  expect(
    pending(sweep({ state: "done" }, { state: "failed" }, { job: "b", state: "running" }, {})),
  ).toBe(2);
});

it("a cell has its job's picture, or why there is none", () => {
  const job = {
    state: "failed",
    pictures: [],
    failure: { message: "too large" },
  } as unknown as Job;
  const ended = told(cell({ job: "a" }), job);
  expect([ended.reason, isEnded(ended)]).toEqual(["too large", true]);
});

it("the ends of an interpolation change places", () => {
  const fields = { aKind: "prompt", aPrompt: "a fox", bKind: "picture", bPicture: "p" };
  expect(swapped(swapped(fields))).toMatchObject(fields);
  expect(swapped(fields)).toMatchObject({ aKind: "picture", aPicture: "p", bPrompt: "a fox" });
});
