/** A picture's settings, given to the tool that draws such pictures; only when the user says so. */
import { batch } from "@preact/signals";
import type { Fields, Schema } from "../api/types";
import { type Key, t } from "../i18n";
import { en } from "../i18n/en";
import { go, place } from "../router";
import { capabilities, chooseModel, model } from "../state/capabilities";
import { form, handed, seed, settingsOf, toolOf } from "../state/form";
import { originOf } from "../state/source";
import { say } from "../state/toasts";
import { paperOf } from "../tools/edit/paper";

/** How something was drawn. */
export interface Recipe {
  ability: string;
  fields: Fields;
  inputs?: Record<string, string>;
  model?: string | undefined;
}

/** Fill a tool's form, and go there. What it had before comes back by "undo". */
export function takeRecipe(recipe: Recipe, own?: number): void {
  const tool = toolOf(recipe.ability);
  const served = capabilities.value?.models.some((one) => one.name === recipe.model);
  const undo = remembered(tool);
  // A job tells of its inputs by digest; tools know pictures by their own ids.
  const named = Object.entries(recipe.inputs ?? {});
  const inputs = Object.fromEntries(named.map(([name, id]) => [name, originOf(id) ?? id]));
  const image = inputs["image"] ?? "";
  const paper = tool === "edit" && image ? paperOf(image) : null;
  const prompt = paper?.value.prompt ?? null;
  batch(() => {
    if (served && recipe.model) chooseModel(recipe.model);
    const fields = { ...recipe.fields, ...(own !== undefined && { seed: own }) };
    handed.value = { tool, fields, inputs };
  });
  if (place.value.tool !== tool || (image && place.value.argument !== image)) go(tool, image);
  const run = () =>
    batch(() => {
      undo();
      if (paper) paper.value = { ...paper.value, prompt };
    });
  say(t("look.used"), { text: t("action.undo"), run });
}

/** What brings a tool's form back as it is now. */
function remembered(tool: string): () => void {
  const [typed, stages] = [form(tool), settingsOf(tool)];
  const before = [typed.value, stages.value, seed.value, model.value?.name ?? ""] as const;
  return () => {
    [typed.value, stages.value, seed.value] = before;
    chooseModel(before[3]);
  };
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
