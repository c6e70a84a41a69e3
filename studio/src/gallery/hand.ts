/** A picture's settings, given to the tool that draws such pictures; only when the user says so. */
import { batch } from "@preact/signals";
import type { Fields, Schema } from "../api/types";
import { t } from "../i18n";
import { go, place } from "../router";
import { capabilities, chooseModel, model } from "../state/capabilities";
import { form, handed, seed, settings } from "../state/form";
import { say } from "../state/toasts";

type Stages = Record<string, Record<string, unknown>>;
type Known = Record<string, Record<string, Schema & { name?: string }>>;

/** How something was drawn. */
export interface Recipe {
  ability: string;
  fields: Fields;
  inputs?: Record<string, string>;
  model?: string | undefined;
}

/** A request's settings, such as `prior_steps`, by the stages that they belong to. */
export function byStage(flat: Fields, known: Known): Stages {
  const found: Stages = {};
  for (const [name, value] of Object.entries(flat)) {
    for (const [stage, schemas] of Object.entries(known)) {
      const own = Object.entries(schemas).find(([key, one]) => (one.name ?? key) === name);
      if (own) found[stage] = { ...found[stage], [own[0]]: value };
    }
  }
  return found;
}

export function toolOf(ability: string): string {
  return ability === "generate" ? "make" : ability;
}

/** Fill a tool's form, and go there. What it had before comes back by "undo". */
export function takeRecipe(recipe: Recipe, own?: number): void {
  const { ability, fields, inputs = {} } = recipe;
  const { seed: given, settings: flat, ...others } = fields;
  const served = capabilities.value?.models.some((one) => one.name === recipe.model);
  const before = { seed: seed.value, settings: settings.value, model: model.value?.name ?? "" };
  const typed = ability === "generate" ? form("make").value : null;
  batch(() => {
    if (served && recipe.model) chooseModel(recipe.model);
    settings.value = byStage((flat ?? {}) as Fields, (model.value?.settings ?? {}) as Known);
    const value = own ?? Number(given);
    if (Number.isFinite(value)) seed.value = { value, locked: true };
    handed.value = { tool: toolOf(ability), fields: others, inputs };
  });
  const there = toolOf(ability);
  if (place.value.tool !== there || inputs["image"]) go(there, inputs["image"] ?? "");
  const undo = () =>
    batch(() => {
      seed.value = before.seed;
      settings.value = before.settings;
      chooseModel(before.model);
      if (typed) form("make").value = typed;
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
