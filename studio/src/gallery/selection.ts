/** Which pictures are chosen, by id; what does not change stays the same object. */

export interface Selection {
  chosen: ReadonlySet<string>;
  /** Where a range begins: what was chosen last. */
  anchor: string | null;
}

export const NONE: Selection = { chosen: new Set(), anchor: null };

export function toggle({ chosen }: Selection, id: string): Selection {
  const next = new Set(chosen);
  if (!next.delete(id)) next.add(id);
  return { chosen: next, anchor: id };
}

/** Add all from the anchor to a picture, in the order in which they are shown. */
export function extend(selection: Selection, order: readonly string[], to: string): Selection {
  const from = selection.anchor === null ? -1 : order.indexOf(selection.anchor);
  const end = order.indexOf(to);
  if (from < 0 || end < 0) return { chosen: new Set([...selection.chosen, to]), anchor: to };
  const range = order.slice(Math.min(from, end), Math.max(from, end) + 1);
  return { chosen: new Set([...selection.chosen, ...range]), anchor: selection.anchor };
}

export function every(order: readonly string[]): Selection {
  return { chosen: new Set(order), anchor: order[0] ?? null };
}

/** Without those that are no longer shown. */
export function within(selection: Selection, order: readonly string[]): Selection {
  if (selection.chosen.size === 0) return selection;
  const shown = new Set(order);
  const chosen = [...selection.chosen].filter((one) => shown.has(one));
  return chosen.length === selection.chosen.size
    ? selection
    : { ...selection, chosen: new Set(chosen) };
}
