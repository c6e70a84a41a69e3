/** Signals whose value outlives the page, in the browser's own storage. */
import { effect, type Signal, signal } from "@preact/signals";

const PREFIX = "unclip.";

/** A signal that begins with what was stored, or `start`, and stores what it becomes. */
export function kept<T>(name: string, start: T): Signal<T> {
  const value = signal<T>(read(name, start));
  effect(() => {
    write(name, value.value);
  });
  return value;
}

function read<T>(name: string, start: T): T {
  try {
    const text = localStorage.getItem(PREFIX + name);
    return text === null ? start : (JSON.parse(text) as T);
  } catch {
    return start; // storage is refused, or what is in it is not ours
  }
}

function write(name: string, value: unknown): void {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Storage is full or refused: the page works without it.
  }
}
