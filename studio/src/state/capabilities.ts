/** What the server can do: read once, when the page may ask. */
import { computed, signal } from "@preact/signals";
import { api } from "../api/client";
import type { Ability, Capabilities, Model } from "../api/types";
import { kept } from "./kept";

export const capabilities = signal<Capabilities | null>(null);
const chosen = kept<string>("model", "");

export const model = computed<Model | null>(() => {
  const models = capabilities.value?.models ?? [];
  return models.find((one) => one.name === chosen.value) ?? models[0] ?? null;
});

export function chooseModel(name: string): void {
  chosen.value = name;
}

const AGAIN_MS = 1000;

/** Read what there is; again while the server still loads its models. */
export async function readCapabilities(): Promise<void> {
  const told = await api.get<Capabilities>("v1/capabilities");
  capabilities.value = told;
  if (told.models.length === 0) setTimeout(() => void readCapabilities(), AGAIN_MS);
}

export function ability(name: string): Ability | null {
  return capabilities.value?.abilities[name] ?? null;
}

/** Whether the chosen model has an ability. */
export function can(name: string): boolean {
  return model.value?.abilities.includes(name) ?? false;
}
