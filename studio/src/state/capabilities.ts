/** What the server can do: read when the page may ask, and after each break of the connection. */
import { computed, signal } from "@preact/signals";
import { ApiError, api } from "../api/client";
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
let reading: Promise<void> | null = null;
let again: ReturnType<typeof setTimeout> | undefined;

/** Read what there is; again where the server does not answer, or still loads its models. */
export function readCapabilities(): Promise<void> {
  reading ??= read().finally(() => {
    reading = null;
  });
  return reading;
}

async function read(): Promise<void> {
  clearTimeout(again);
  const retry = () => {
    again = setTimeout(() => void readCapabilities(), AGAIN_MS);
  };
  try {
    const told = await api.get<Capabilities>("v1/capabilities");
    // While it begins anew, what it could do before is the best guess: no tool vanishes.
    if (told.models.length > 0 || !capabilities.peek()) capabilities.value = told;
    if (told.models.length === 0) retry();
  } catch (error) {
    // Without a session there is nothing to wait for: it is read after the login.
    if (!(error instanceof ApiError) || error.status !== 401) retry();
  }
}

export function ability(name: string): Ability | null {
  return capabilities.value?.abilities[name] ?? null;
}

/** Whether the chosen model has an ability. */
export function can(name: string): boolean {
  return model.value?.abilities.includes(name) ?? false;
}
