import { render } from "preact";
import { act } from "preact/test-utils";
import { beforeEach, expect, it } from "vitest";
import type { Capabilities } from "../src/api/types";
import { takeRecipe } from "../src/gallery/hand";
import { place } from "../src/router";
import { capabilities } from "../src/state/capabilities";
import { adopt, asked, form, handed, seed, set, settings, settingsOf } from "../src/state/form";
import { toasts } from "../src/state/toasts";
import { countsWith } from "../src/ui/count";
import { Seed, Settings } from "../src/ui/settings";

const properties = {
  prompt: { type: "string" },
  n: { type: "integer", default: 1 },
  seed: { type: "integer" },
  eta: { type: "number", default: 1 },
  tile: { type: "boolean", default: false },
  prior: { type: "string" },
  decoder: { type: "string" },
  negative_prompt: { type: "string" },
  settings: { type: "object" },
};
const fields = { properties, required: [] };
const stage = { steps: { type: "integer", name: "steps" } };
const one = { name: "a", priors: ["ar"], decoders: ["decoder"], abilities: [], words: [] };

beforeEach(() => {
  capabilities.value = {
    abilities: { generate: { fields }, vary: { fields }, edit: { fields } },
    models: [{ ...one, settings: { decoder: stage } }],
  } as unknown as Capabilities;
  settings.value = {};
  seed.value = { value: 7, locked: false };
});

it("a form that takes a job over has nothing of before, and shows what the server took", () => {
  const make = form("make");
  expect(make.value).toEqual({ prompt: "", n: 4 });
  make.value = { prompt: "a cat", n: 8, tile: true };
  adopt("make", make, { prompt: "a fox", seed: 3, settings: { steps: 5 } });
  expect(make.value).toEqual({ prompt: "a fox", n: 1 });
  expect(seed.value).toEqual({ value: 3, locked: true });
  expect(asked("generate", make.value).fields).toEqual({
    prompt: "a fox",
    n: 1,
    seed: 3,
    settings: { steps: 5 },
  });
  const vary = form("vary");
  adopt("vary", vary, { image: "p" });
  expect(vary.value).toEqual({ n: 1, eta: 1, image: "p" });
});

it("any number of pictures can be shown", () => {
  expect(countsWith(4)).toEqual(["1", "2", "4", "8"]);
  expect(countsWith(3)).toEqual(["1", "2", "3", "4", "8"]);
});

it("a prior that the model does not have is not asked for", () => {
  const prior = (value: string) => asked("generate", { prompt: "a", prior: value }).fields["prior"];
  expect([prior("ar"), prior("none"), prior("diffusion")]).toEqual(["ar", "none", undefined]);
});

it("settings of another picture lead to it, and are undone in any tool", () => {
  location.hash = `#/vary/${"a".repeat(32)}`;
  dispatchEvent(new Event("hashchange"));
  const vary = form("vary");
  vary.value = { n: 4, eta: 0.3, image: "a".repeat(32) };
  const inputs = { image: "b".repeat(32) };
  takeRecipe({ ability: "vary", fields: { eta: 0.9, seed: 2 }, inputs });
  dispatchEvent(new Event("hashchange"));
  expect([place.value.tool, place.value.argument]).toEqual(["vary", inputs.image]);
  const given = handed.value;
  expect(given).toEqual({ tool: "vary", fields: { eta: 0.9, seed: 2 }, inputs });
  adopt("vary", vary, { ...given?.fields, ...given?.inputs });
  settingsOf("vary").value = { decoder: { steps: 9 } };
  toasts.value.at(-1)?.action?.run();
  expect(vary.value).toEqual({ n: 4, eta: 0.3, image: "a".repeat(32) });
  expect(settingsOf("vary").value).toEqual({});
  expect(seed.value).toEqual({ value: 7, locked: false });
});

it("back to the model's own clears fields and settings", async () => {
  const make = form("make");
  make.value = { prompt: "a fox", n: 2, prior: "ar", negative_prompt: "red", tile: true };
  const root = document.createElement("div");
  const change = (name: string, value: unknown) => set(make, name, value);
  const props = { fields: make.value, without: ["prompt", "n", "eta"], onChange: change };
  await act(() => render(<Settings tool="generate" {...props} />, root));
  const buttons = [...root.querySelectorAll("button")];
  await act(() => buttons.find((each) => each.textContent?.includes("Back to"))?.click());
  expect(make.value).toEqual({ prompt: "a fox", n: 2 });
});

it("a seed that is cleared is another each time, and one that is too large is not taken", async () => {
  const root = document.createElement("div");
  seed.value = { value: 5, locked: true };
  await act(() => render(<Seed />, root));
  const input = root.querySelector("input") as HTMLInputElement;
  const type = (text: string) =>
    act(() => {
      input.value = text;
      input.dispatchEvent(new Event("input", { bubbles: true }));
    });
  await type("");
  expect([seed.value, input.value]).toEqual([{ value: 5, locked: false }, ""]);
  await type("12");
  expect(seed.value).toEqual({ value: 12, locked: true });
  await type("99999999999999999999");
  expect([seed.value.value, input.getAttribute("aria-invalid")]).toEqual([12, "true"]);
});

it("upscaling shows no stage that runs for a size alone", async () => {
  const eta = { eta: { type: "number", name: "eta" } };
  const stages = { decoder: stage, upsampler: eta, larger: eta };
  capabilities.value = {
    abilities: { upscale: { fields: { properties: {}, required: [] } } },
    models: [{ ...one, optional: ["larger"], settings: stages }],
  } as unknown as Capabilities;
  const root = document.createElement("div");
  await act(() =>
    render(<Settings tool="upscale" fields={{}} without={[]} onChange={() => {}} />, root),
  );
  const shown = [...root.querySelectorAll("h3")].map((title) => title.textContent);
  expect(shown).toEqual(["Upsampler"]);
});
