/** A picture's settings, given to the tool that draws such pictures; only when the user says so. */
import { batch } from "@preact/signals";
import type { Fields, Schema } from "../api/types";
import { type Key, t } from "../i18n";
import { en } from "../i18n/en";
import { go, place } from "../router";
import { capabilities, chooseModel, model } from "../state/capabilities";
import { form, handed, seed, settingsOf } from "../state/form";
import { say } from "../state/toasts";

/** How something was drawn. */
export interface Recipe {
  ability: string;
  fields: Fields;
  inputs?: Record<string, string>;
  model?: string | undefined;
}

export function toolOf(ability: string): string {
  return ability === "generate" ? "make" : ability;
}

/** Fill a tool's form, and go there. What it had before comes back by "undo". */
export function takeRecipe(recipe: Recipe, own?: number): void {
  const { ability, fields, inputs = {} } = recipe;
  const tool = toolOf(ability);
  const served = capabilities.value?.models.some((one) => one.name === recipe.model);
  const stages = settingsOf(tool);
  const typed = tool === "make" ? form(tool) : null;
  const before = {
    ...{ seed: seed.value, settings: stages.value, model: model.value?.name ?? "" },
    fields: typed?.value ?? {},
  };
  // What the form has and the recipe has not is the recipe's default.
  const none = Object.fromEntries(Object.keys(before.fields).map((name) => [name, undefined]));
  batch(() => {
    if (served && recipe.model) chooseModel(recipe.model);
    const given = { ...none, ...fields, ...(own !== undefined && { seed: own }) };
    handed.value = { tool, fields: given, inputs };
  });
  if (place.value.tool !== tool || inputs["image"]) go(tool, inputs["image"] ?? "");
  const undo = () =>
    batch(() => {
      seed.value = before.seed;
      stages.value = before.settings;
      chooseModel(before.model);
      if (typed) typed.value = before.fields;
    });
  say(t("look.used"), { text: t("action.undo"), run: undo });
}

export function takeSeed(value: number): void {
  seed.value = { value, locked: true };
  say(t("look.usedSeed", { seed: value }));
}

/** Whether a schema says that a field has this value anyway. */
export function isDefault(schema: Schema | undefined, value: unknown): boolean {
  if (value === null || value === undefined || value === "") return true;
  return schema !== undefined && JSON.stringify(schema.default) === JSON.stringify(value);
}

/** What is worth telling of a recipe, a line each: fields and settings that are not the default. */
export function linesOf({ ability, fields }: Recipe): [string, string][] {
  const known = capabilities.value?.abilities[ability]?.fields.properties ?? {};
  const { prompt: _, seed: __, settings: flat, n: ___, ...others } = fields;
  const own = Object.entries(others).filter(([name, one]) => !isDefault(known[name], one));
  const more = Object.entries((flat ?? {}) as Fields);
  return [...own, ...more].map(([name, one]) => [name, shown(one)]);
}

function shown(value: unknown): string {
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** An ability's name in the user's language, if there is one. */
export function abilityName(name: string): string {
  const key = `ability.${name}`;
  return key in en ? t(key as Key) : name;
}
