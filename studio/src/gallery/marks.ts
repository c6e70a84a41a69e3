/** Tags and collections: those that there are, and what pictures have of them. */
import { signal } from "@preact/signals";
import { api } from "../api/client";
import type { Collection, Picture } from "../api/types";
import { type Marks, mark, onChange } from "../state/pictures";
import { attempt } from "../state/toasts";

/** Tag -> how many pictures have it. */
export const tags = signal<Readonly<Record<string, number>>>({});
export const collections = signal<readonly Collection[]>([]);

export async function readMarks(): Promise<void> {
  await attempt(async () => {
    const [one, other] = await Promise.all([
      api.get<{ data: Record<string, number> }>("v1/tags"),
      api.get<{ data: Collection[] }>("v1/collections"),
    ]);
    tags.value = one.data;
    collections.value = other.data;
  });
}

/** Read them now and whenever pictures change, until what is returned is called. */
export function followMarks(): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  void readMarks();
  const end = onChange(() => {
    clearTimeout(timer);
    timer = setTimeout(() => void readMarks(), 300);
  });
  return () => {
    clearTimeout(timer);
    end();
  };
}

/** A new collection; null where its name cannot be. */
export async function makeCollection(name: string): Promise<Collection | null> {
  const made = await attempt(() => api.post<Collection>("v1/collections", { name }));
  if (made) collections.value = [...collections.value, { ...made, pictures: 0 }].sort(byName);
  return made;
}

export async function renameCollection(id: string, name: string): Promise<boolean> {
  const made = await attempt(() => api.patch<Collection>(`v1/collections/${id}`, { name }));
  if (!made) return false;
  const others = collections.value.filter((one) => one.id !== id);
  collections.value = [...others, made].sort(byName);
  return true;
}

export async function removeCollection(id: string): Promise<boolean> {
  const done = await attempt(() => api.delete(`v1/collections/${id}`));
  if (done === null) return false;
  collections.value = collections.value.filter((one) => one.id !== id);
  return true;
}

function byName(a: Collection, b: Collection): number {
  return a.name < b.name ? -1 : 1;
}

export function nameOfCollection(id: string): string {
  return collections.value.find((one) => one.id === id)?.name ?? "";
}

type Marked = Pick<Picture, "tags" | "collections">;

/** What a picture has after a change, as the server has it. */
export function marked<T extends Marked>(picture: T, marks: Marks): T {
  const changed = (own: string[], add: string[] = [], take: string[] = []) =>
    [...new Set([...own, ...add])].filter((one) => !take.includes(one)).sort();
  return {
    ...picture,
    tags: changed(picture.tags, marks.add_tags, marks.remove_tags),
    collections: changed(picture.collections, marks.add_collections, marks.remove_collections),
  };
}

/** How many of some pictures have each. */
export function counted(some: readonly Marked[], which: keyof Marked): Map<string, number> {
  const found = new Map<string, number>();
  for (const one of some)
    for (const each of one[which]) found.set(each, (found.get(each) ?? 0) + 1);
  return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Tags that begin with what is typed, then those that contain it; the most used first. */
export function suggested(
  known: Readonly<Record<string, number>>,
  own: readonly string[],
  typed: string,
): string[] {
  const part = typed.trim().toLowerCase();
  return Object.entries(known)
    .filter(([name]) => !own.includes(name) && name.toLowerCase().includes(part))
    .sort(([a, n], [b, m]) => start(b, part) - start(a, part) || m - n)
    .map(([name]) => name);
}

function start(name: string, part: string): number {
  return name.toLowerCase().startsWith(part) ? 1 : 0;
}

/** Names as they are typed: commas between them. */
export function namesIn(typed: string): string[] {
  const names = typed.split(/[,,、]/).map((one) => one.trim());
  return [...new Set(names.filter(Boolean))];
}

/** Change pictures, and read what there is then. Whether it was done. */
export async function apply(ids: readonly string[], marks: Marks): Promise<boolean> {
  const done = await mark(ids, marks);
  if (done) void readMarks();
  return done;
}
