/** What was done, in order, and what was undone of it. Nothing is changed in place. */
export interface History<T> {
  done: readonly T[];
  undone: readonly T[];
}

export const NOTHING: History<never> = { done: [], undone: [] };

export function did<T>(history: History<T>, one: T): History<T> {
  return { done: [...history.done, one], undone: [] };
}

export function undo<T>({ done, undone }: History<T>): History<T> {
  const last = done.at(-1);
  return last === undefined
    ? { done, undone }
    : { done: done.slice(0, -1), undone: [...undone, last] };
}

export function redo<T>({ done, undone }: History<T>): History<T> {
  const last = undone.at(-1);
  return last === undefined
    ? { done, undone }
    : { done: [...done, last], undone: undone.slice(0, -1) };
}
