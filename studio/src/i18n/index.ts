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

/** A text, with `{name}` replaced by values. */
export function t(key: Key, values: Record<string, string | number> = {}): string {
  return fill(LANGUAGES[language.value].texts[key], values);
}

export function fill(text: string, values: Record<string, string | number>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}
