/** Texts in the user's language: `t("make.draw")`, `t("job.place", { n: 3 })`. */
import { computed, signal } from "@preact/signals";
import { kept } from "../state/kept";
import { type Catalogue, en, type Key } from "./en";
import { zh } from "./zh";

export type { Key };
export type Language = "en" | "zh";

export const LANGUAGES: Record<Language, { name: string; texts: Catalogue }> = {
  en: { name: "English", texts: en },
  zh: { name: "中文", texts: zh },
};

/** What the user chose; empty: the browser's. */
const chosen = kept<Language | "">("language", "");
const asked = signal<readonly string[]>(navigator.languages);

/** The first of the browser's languages that there is a catalogue for. */
export function languageOf(wanted: readonly string[]): Language {
  for (const one of wanted) {
    const base = one.toLowerCase().split("-")[0];
    if (base === "en" || base === "zh") return base;
  }
  return "en";
}

export const language = computed<Language>(() => chosen.value || languageOf(asked.value));

export function speak(one: Language): void {
  chosen.value = one;
}

/** A text, with `{name}` replaced by values. Of one thing it is `key.one`, where there is that. */
export function t(key: Key, values: Record<string, string | number> = {}): string {
  const single = `${key}.one`;
  const own = Number(values["n"]) === 1 && single in en ? (single as Key) : key;
  return fill(LANGUAGES[language.value].texts[own], values);
}

/** What the server's errors and the failures of jobs are called here, by their codes. */
const ERRORS: Record<string, Key> = {
  content_policy: "error.refused",
  content_policy_violation: "error.refused",
  internal: "error.server",
  memory: "error.memory",
  model_not_found: "error.model",
  not_kept: "error.notKept",
  request_too_large: "error.large",
  server_error: "error.server",
  service_unavailable: "error.unavailable",
  upload_quota_exceeded: "error.quota",
};

/** An error of the server in the user's language, where the page has words for it. */
export function explained(code: string | null | undefined, message: string): string {
  const key = ERRORS[code ?? ""];
  return key ? t(key, { message }) : message;
}

export function fill(text: string, values: Record<string, string | number>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}
