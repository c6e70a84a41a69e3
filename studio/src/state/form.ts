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

const forms: Record<string, Signal<Fields>> = {};

/** The fields of a tool's form. */
export function form(tool: string, start: Fields = {}): Signal<Fields> {
  forms[tool] ??= kept<Fields>(`form.${tool}`, start);
  return forms[tool];
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

/** Fill a tool's form with the fields of a job, its seed and its settings. */
export function adopt(tool: string, values: Signal<Fields>, fields: Fields): void {
  const { seed: own, settings: flatly, ...others } = fields;
  settingsOf(tool).value = unflat((flatly as Fields | undefined) ?? {}, model.value?.settings);
  if (typeof own === "number") seed.value = { value: own, locked: true };
  values.value = { ...values.value, ...others };
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
    ([key, one]) => key in known && one !== "" && one !== undefined,
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
