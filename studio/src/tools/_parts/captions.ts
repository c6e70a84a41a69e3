/** Captions that a picture is asked about: a list without doubles. */

export const MOST_CAPTIONS = 64;

/** One a line, without empty ones and those that were there before. */
export function captionsOf(text: string): string[] {
  const lines = text.split(/\r?\n/).map((one) => one.trim());
  return [...new Set(lines)].filter(Boolean).slice(0, MOST_CAPTIONS);
}

/** Those of a text after those that are there. */
export function withCaptions(there: readonly string[], text: string): string[] {
  return captionsOf([...there, text].join("\n"));
}

/** What is most likely first; of equals, in the order asked. */
export function ranked(
  captions: readonly string[],
  shares: readonly number[],
): { caption: string; share: number }[] {
  return captions
    .map((caption, i) => ({ caption, share: shares[i] ?? 0 }))
    .sort((a, b) => b.share - a.share);
}

/** As people read it: whole percents, more exact below one. */
export function percent(share: number): string {
  const all = 100 * share;
  if (all >= 99.95 || all === 0) return String(Math.round(all));
  if (all < 0.1) return "< 0.1";
  return all < 10 || all > 99 ? all.toFixed(1) : String(Math.round(all));
}
