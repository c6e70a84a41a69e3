/** Signals whose value outlives the page, in the browser's own storage. */
import { effect, type Signal, signal } from "@preact/signals";

export const PREFIX = "unclip.";

/** A signal that begins with what was stored, or `start`, and stores what it becomes. */
export function kept<T>(name: string, start: T): Signal<T> {
  const value = signal<T>(read(name, start));
  effect(() => {
    write(name, value.value);
  });
  return value;
}

/** How the page looks is nobody's secret. */
const LOOKS = ["theme", "language"].map((name) => PREFIX + name);

/** Forget what somebody typed and did here: another uses the browser. A reload forgets the rest. */
export function forgetAll(): void {
  forget(localStorage);
  forgetTab();
}

/** Forget what this tab alone has stored: each tab has to. */
export function forgetTab(): void {
  forget(sessionStorage);
}

function forget(storage: Storage): void {
  for (const name of Object.keys(storage)) {
    if (name.startsWith(PREFIX) && !LOOKS.includes(name)) storage.removeItem(name);
  }
}

function read<T>(name: string, start: T): T {
  try {
    const text = localStorage.getItem(PREFIX + name);
    return text === null ? start : (JSON.parse(text) as T);
  } catch {
    return start; // storage is refused, or what is in it is not ours
  }
}

let frozen = false;

/** Store nothing more: the page is left, and what is stored belongs to whoever comes next. */
export function freeze(): void {
  frozen = true;
}

function write(name: string, value: unknown): void {
  if (frozen) return;
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Storage is full or refused: the page works without it.
  }
}
