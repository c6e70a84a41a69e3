/** What is typed into a tool: kept over reloads, sent as fields of its ability. */
import { type Signal, signal } from "@preact/signals";
import type { Asked, Fields } from "../api/types";
import { ability, model } from "./capabilities";
import { kept } from "./kept";

/** Settings of stages, such as `{ decoder: { steps: 6 } }`; shared by all tools. */
export const settings = kept<Record<string, Record<string, unknown>>>("settings", {});
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

/** Which settings of which stages are not the model's own. */
export function setting(stage: string, name: string, value: unknown): void {
  const { [name]: _, ...others } = settings.value[stage] ?? {};
  const own = value === undefined ? others : { ...others, [name]: value };
  const { [stage]: __, ...stages } = settings.value;
  settings.value = Object.keys(own).length > 0 ? { ...stages, [stage]: own } : stages;
}

/** The seed of the next job: the locked one, or another. */
function nextSeed(): number {
  if (!seed.value.locked)
    seed.value = { ...seed.value, value: Math.floor(Math.random() * 2 ** 31) };
  return seed.value.value;
}

/** A job of a tool: its own fields, the seed, and the settings that the model has. */
export function asked(name: string, fields: Fields, inputs: Record<string, string> = {}): Asked {
  const known = ability(name)?.fields.properties ?? {};
  const stages = model.value?.settings ?? {};
  const chosen = Object.entries(settings.value).filter(([stage]) => stage in stages);
  const all: Fields = { ...fields, seed: fields["seed"] ?? nextSeed() };
  if (chosen.length > 0) all["settings"] = Object.fromEntries(chosen);
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
