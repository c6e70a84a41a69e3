/** What is kept of each picture that is worked on: a few dozen, the newest. */
import type { Signal } from "@preact/signals";
import { kept } from "../state/kept";

const MOST = 40;

/** Papers of a kind: `of(id)` is the same signal each time, and outlives the page. */
export function papers<T>(kind: string, start: T): { of: (id: string) => Signal<T> } {
  const known = new Map<string, Signal<T>>();
  const names = kept<readonly string[]>(`${kind}.names`, []);
  return {
    of: (id) => {
      let found = known.get(id);
      if (!found) {
        found = kept<T>(`${kind}.${id}`, start);
        known.set(id, found);
        names.value = trimmed([id, ...names.peek().filter((one) => one !== id)], kind);
      }
      return found;
    },
  };
}

function trimmed(names: readonly string[], kind: string): readonly string[] {
  for (const one of names.slice(MOST)) localStorage.removeItem(`unclip.${kind}.${one}`);
  return names.slice(0, MOST);
}
