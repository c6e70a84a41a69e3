/** Where the page is: `#/edit/PICTURE`, a tool and what it works on. */
import { computed, signal } from "@preact/signals";

export interface Place {
  tool: string;
  argument: string;
  /** Of the part after `?`. */
  query: URLSearchParams;
}

export function placeOf(hash: string): Place {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [tool = "", argument = ""] = path.split("/", 2);
  return {
    tool: tool || "make",
    argument: decoded(argument),
    query: new URLSearchParams(query),
  };
}

/** As it stands, where somebody typed what is no code: a page is better than none. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const hash = signal(location.hash);
addEventListener("hashchange", () => {
  hash.value = location.hash;
});

export const place = computed(() => placeOf(hash.value));

export function href(tool: string, argument = "", query: Record<string, string> = {}): string {
  const more = new URLSearchParams(query).toString();
  return `#/${tool}${argument ? `/${encodeURIComponent(argument)}` : ""}${more ? `?${more}` : ""}`;
}

export function go(tool: string, argument = "", query: Record<string, string> = {}): void {
  location.hash = href(tool, argument, query);
}

/** As `go`, in place of where the page is: back leads to where it was before. */
export function replace(tool: string, argument = "", query: Record<string, string> = {}): void {
  history.replaceState(history.state, "", href(tool, argument, query));
  hash.value = location.hash;
}
