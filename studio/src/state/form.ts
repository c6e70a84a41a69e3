/** What is typed into a tool: kept over reloads, sent as fields of its ability. */
import { type Signal, signal } from "@preact/signals";
import type { Asked, Fields, Schema } from "../api/types";
import { ability, model } from "./capabilities";
import { kept } from "./kept";

/** Settings of stages, such as `{ decoder: { steps: 6 } }`. */
export type Stages = Record<string, Record<string, unknown>>;

/** Of tools that draw from a prompt. */
export const settings = kept<Stages>("settings", {});
const inverting = kept<Stages>("settings.inverting", {});
const enlarging = kept<Stages>("settings.upscale", {});

/** The settings of a tool. Inversion has its own: guidance that suits a prompt would spoil it. */
export function settingsOf(tool: string): Signal<Stages> {
  if (["vary", "interpolate", "textdiff"].includes(tool)) return inverting;
  return tool === "upscale" ? enlarging : settings;
}

/** Stage -> setting -> its schema, as a model tells them. */
type Known = Record<string, Record<string, Schema>>;

export const seed = kept<{ value: number; locked: boolean }>("seed", { value: 7, locked: false });

/** What the forms begin with. */
const START: Record<string, Fields> = {
  make: { prompt: "", n: 4 },
  vary: { n: 4, eta: 0.8 },
  edit: { n: 4 },
  img2img: { prompt: "", strength: 0.6, n: 4 },
  textdiff: { source: "", target: "", frames: 6, theta: 0.5 },
  interpolate: { frames: 16, noise: "slerp", aKind: "prompt", bKind: "prompt" },
};

const forms: Record<string, Signal<Fields>> = {};

/** The fields of a tool's form. */
export function form(tool: string, start: Fields = START[tool] ?? {}): Signal<Fields> {
  forms[tool] ??= kept<Fields>(`form.${tool}`, start);
  return forms[tool];
}

/** The ability that a tool draws with, and the tool of an ability. */
export const abilityOf = (tool: string) => (tool === "make" ? "generate" : tool);
export const toolOf = (ability: string) => (ability === "generate" ? "make" : ability);

/** What the server takes where a field of a tool is not sent. */
export function defaultOf(tool: string, name: string): unknown {
  return ability(abilityOf(tool))?.fields.properties[name]?.default ?? undefined;
}

export function set(values: Signal<Fields>, name: string, value: unknown): void {
  const { [name]: _, ...others } = values.value;
  values.value = value === undefined ? others : { ...others, [name]: value };
}

/** Set one, or go back to the model's own. */
export function setting(values: Signal<Stages>, stage: string, name: string, value: unknown): void {
  const { [name]: _, ...others } = values.value[stage] ?? {};
  const own = value === undefined ? others : { ...others, [name]: value };
  const { [stage]: __, ...stages } = values.value;
  values.value = Object.keys(own).length > 0 ? { ...stages, [stage]: own } : stages;
}

/** As a request has them: flat, each under the name that the model gives it. */
export function flat(values: Stages, known: Known = {}): Fields {
  const found: Fields = {};
  for (const [stage, own] of Object.entries(values)) {
    for (const [name, value] of Object.entries(own)) {
      const told = known[stage]?.[name];
      if (told) found[told.name ?? (stage === "decoder" ? name : `${stage}_${name}`)] = value;
    }
  }
  return found;
}

/** `flat` undone, of what the model has. */
export function unflat(settings: Fields, known: Known = {}): Stages {
  const found: Stages = {};
  for (const [stage, own] of Object.entries(known)) {
    const names = Object.keys(own).map((name) => [name, flat({ [stage]: { [name]: 0 } }, known)]);
    for (const [name, told] of names as [string, Fields][]) {
      const given = Object.keys(told)[0] ?? "";
      if (given in settings) found[stage] = { ...found[stage], [name]: settings[given] };
    }
  }
  return found;
}

/**
 * Make a tool's form what a job was: its fields, its seed and its settings. What the form has and
 * the job did not say is what the server took for it.
 */
export function adopt(tool: string, values: Signal<Fields>, fields: Fields): void {
  const { seed: own, settings: flatly, ...others } = fields;
  settingsOf(tool).value = unflat((flatly as Fields | undefined) ?? {}, model.value?.settings);
  if (typeof own === "number") seed.value = { value: own, locked: true };
  const start = START[tool] ?? {};
  const taken = Object.entries(start).map(([name, one]) => [name, defaultOf(tool, name) ?? one]);
  const { image } = values.value; // a dropped file tells how it was made, but has not this one
  values.value = { ...(image ? { image } : {}), ...Object.fromEntries(taken), ...others };
}

/** Whether a model has the prior or the decoder that was chosen, maybe with another model. */
export function isServed(name: string, value: unknown): boolean {
  const one = model.value;
  if (!one || (name !== "prior" && name !== "decoder")) return true;
  const names = name === "prior" ? [...(one.priors ?? []), "none"] : (one.decoders ?? []);
  return names.includes(String(value));
}

export function randomSeed(): number {
  return Math.floor(Math.random() * 2 ** 31);
}

/** The seed of the next job: the locked one, or another. */
export function nextSeed(): number {
  if (!seed.value.locked) seed.value = { ...seed.value, value: randomSeed() };
  return seed.value.value;
}

/** A job of a tool: its own fields, the seed, the settings that the model has, and `more` of them. */
export function asked(
  name: string,
  fields: Fields,
  inputs: Record<string, string> = {},
  more: Fields = {},
): Asked {
  const known = ability(name)?.fields.properties ?? {};
  const chosen = { ...flat(settingsOf(name).value, model.value?.settings), ...more };
  const all: Fields = { ...fields, seed: fields["seed"] ?? nextSeed() };
  if (Object.keys(chosen).length > 0) all["settings"] = chosen;
  const sent = Object.entries(all).filter(
    ([key, one]) => key in known && one !== "" && one !== undefined && isServed(key, one),
  );
  const served = model.value?.name;
  return {
    ability: name,
    fields: Object.fromEntries(sent),
    ...(Object.keys(inputs).length > 0 ? { inputs } : {}),
    ...(served ? { model: served } : {}),
  };
}

/** Something that a tool is to begin with, given by another: read once. */
export const handed = signal<{
  tool: string;
  fields: Fields;
  inputs: Record<string, string>;
} | null>(null);
