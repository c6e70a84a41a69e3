/** The words that a model knows, where it lists them. */

const HAN = /\p{Script=Han}/u;

/** Whether a model that lists its words knows all of a text. */
export function knows(words: ReadonlySet<string>, text: string): boolean {
  const pieces = text.toLowerCase().match(/\p{Script=Han}+|[^\s\p{Script=Han},.;:!?，。]+/gu) ?? [];
  return pieces.every((one) => words.has(one) || (HAN.test(one) && isMadeOf(words, one)));
}

/** Whether a text without spaces can be cut into known words. */
function isMadeOf(words: ReadonlySet<string>, text: string): boolean {
  const reached = [true];
  for (let end = 1; end <= text.length; end += 1) {
    reached[end] = reached.some((yes, start) => yes && words.has(text.slice(start, end)));
  }
  return reached[text.length] ?? false;
}

/** A prompt with a word replaced by another, wherever it stands as a word of its own. */
export function replaced(prompt: string, word: string, by: string): string {
  const escaped = word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  if (HAN.test(word)) return prompt.replaceAll(word, by);
  return prompt.replace(
    new RegExp(`(?<![\\p{L}\\p{N}])${escaped}(?![\\p{L}\\p{N}])`, "giu"),
    () => by,
  );
}

/** Those of some texts that the model knows; all of them where it lists no words. */
export function examplesOf(texts: readonly string[], words: readonly string[] = []): string[] {
  if (words.length === 0) return [...texts];
  const known = new Set(words);
  const found = texts.filter((one) => knows(known, one));
  return found.length > 0 ? found : words.filter((one) => one.length > 2).slice(0, 8);
}
