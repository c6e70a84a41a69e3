/** What is looked for, as it stands in the page's address and in the API's. */

export interface Search {
  q: string;
  tag: string;
  collection: string;
  favourites: boolean;
  deleted: boolean;
}

export const EVERYTHING: Search = {
  q: "",
  tag: "",
  collection: "",
  favourites: false,
  deleted: false,
};

export function searchOf(query: URLSearchParams): Search {
  const text = (name: string) => (query.get(name) ?? "").trim();
  const truth = (name: string) => query.get(name) === "true";
  return {
    q: text("q"),
    tag: text("tag"),
    collection: text("collection"),
    favourites: truth("favourites"),
    deleted: truth("deleted"),
  };
}

/** Without what is not asked for. Equal searches give equal texts. */
export function queryOf(search: Search): Record<string, string> {
  const all = Object.entries(search).sort(([a], [b]) => (a < b ? -1 : 1));
  const told = all.map(([name, value]) => [name, String(value).trim()]);
  return Object.fromEntries(told.filter(([, value]) => value !== "" && value !== "false"));
}

export function keyOf(search: Search): string {
  return new URLSearchParams(queryOf(search)).toString();
}
