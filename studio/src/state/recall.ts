/** Earlier prompts: arrow-up in an empty prompt brings them back, as in a terminal. */
import { useRef } from "preact/hooks";
import { jobs } from "./jobs";
import { kept } from "./kept";

const MOST = 100;
const own = kept<readonly string[]>("prompts", []);

/** Newest first, each once. */
export function withPrompt(list: readonly string[], prompt: string): readonly string[] {
  const text = prompt.trim();
  return text ? [text, ...list.filter((one) => one !== text)].slice(0, MOST) : list;
}

export function keepPrompt(prompt: string): void {
  own.value = withPrompt(own.value, prompt);
}

/** This browser's, then those of jobs that were asked for elsewhere. */
function earlier(): string[] {
  const others = jobs.value.map((one) => one.fields["prompt"]);
  const texts = others.filter((one): one is string => typeof one === "string" && one !== "");
  return [...new Set([...own.value, ...texts])];
}

/**
 * The prompt that a key leads to; null: it leads nowhere.
 * @param shown what was recalled last, which a change by hand makes void
 */
export function recalled(
  list: readonly string[],
  typed: string,
  shown: string | null,
  key: string,
): string | null {
  const at = shown !== null && typed === shown ? list.indexOf(shown) : -1;
  if (at < 0 && typed !== "") return null;
  if (key === "ArrowUp") return list[at + 1] ?? null;
  if (key === "ArrowDown" && at >= 0) return at === 0 ? "" : (list[at - 1] ?? null);
  return null;
}

/** For a prompt's keydown: whether the key recalled a prompt. */
export function useRecall(typed: string, onChange: (prompt: string) => void) {
  const shown = useRef<string | null>(null);
  return (event: KeyboardEvent): boolean => {
    const held = event.shiftKey || event.ctrlKey || event.metaKey || event.altKey;
    if (held || event.isComposing) return false;
    const next = recalled(earlier(), typed, shown.current, event.key);
    if (next === null) return false;
    event.preventDefault();
    shown.current = next;
    onChange(next);
    return true;
  };
}
