/** What can be done with pictures, wherever they are shown. */
import { batch, signal } from "@preact/signals";
import { ApiError, address, api } from "../api/client";
import type { Drawn, Events } from "../api/types";
import { t } from "../i18n";
import { attempt, say } from "./toasts";

/** Counts jobs that ended: lists of pictures look for new ones when it moves. */
export const changes = signal(0);
/** Favourites that the page knows, by picture. */
export const favourites = signal<Readonly<Record<string, boolean>>>({});
export const deleted = signal<ReadonlySet<string>>(new Set());

export type Change = Events["pictures"]["change"];
type Listener = (ids: readonly string[], change: Change) => void;
const listeners = new Set<Listener>();

/** Hear of changes that were made here or elsewhere, until what is returned is called. */
export function onChange(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Pictures were changed, here or elsewhere: the server tells of it. */
export function told(ids: readonly string[], change: Change): void {
  batch(() => {
    if (change === "deleted") deleted.value = new Set([...deleted.value, ...ids]);
    if (change === "restored") exist(ids);
    for (const one of listeners) one(ids, change);
  });
}

function exist(ids: readonly string[]): void {
  if (!ids.some((id) => deleted.value.has(id))) return;
  const back = new Set(ids);
  deleted.value = new Set([...deleted.value].filter((one) => !back.has(one)));
}

/** The file, which needs a session and is there as long as the picture. */
export function fileOf(picture: Pick<Drawn, "id">, metadata = true): string {
  return address(`v1/pictures/${picture.id}/file${metadata ? "" : "?metadata=false"}`);
}

export function thumbnailOf(picture: Pick<Drawn, "id">, side = 256): string {
  return address(`v1/pictures/${picture.id}/thumbnail?side=${side}`);
}

/** Learn which pictures are favourites, of those that say so. */
export function know(some: readonly { id: string; favourite?: boolean }[]): void {
  const before = favourites.peek();
  const told = some.filter((one) => (one.favourite ?? before[one.id]) !== before[one.id]);
  if (told.length === 0) return;
  const known = Object.fromEntries(told.map((one) => [one.id, one.favourite === true]));
  favourites.value = { ...before, ...known };
}

export async function favour(id: string): Promise<void> {
  await favourAll([id], !favourites.value[id]);
}

/** Make pictures favourites, or no longer; shown at once, and taken back where it is refused. */
export async function favourAll(ids: readonly string[], favourite: boolean): Promise<void> {
  const before = favourites.value;
  favourites.value = { ...before, ...Object.fromEntries(ids.map((id) => [id, favourite])) };
  if (await each(ids, (id) => api.patch(`v1/pictures/${id}`, { favourite }))) {
    say(t(favourite ? "picture.marked" : "picture.unmarked"));
  } else {
    const old = Object.fromEntries(ids.map((id) => [id, before[id] ?? false]));
    favourites.value = { ...favourites.value, ...old };
  }
}

/** What is added to pictures, and taken away. */
export interface Marks {
  add_tags?: string[];
  remove_tags?: string[];
  add_collections?: string[];
  remove_collections?: string[];
}

/** Tag pictures, or collect them. Whether that was done. */
export async function mark(ids: readonly string[], marks: Marks): Promise<boolean> {
  return each(ids, (id) => api.patch(`v1/pictures/${id}`, marks));
}

export async function remove(...ids: string[]): Promise<void> {
  if (!(await each(ids, (id) => api.delete(`v1/pictures/${id}`)))) return;
  told(ids, "deleted");
  const text = ids.length === 1 ? t("picture.deleted") : t("gallery.deleted", { n: ids.length });
  say(text, { text: t("action.undo"), run: () => void restore(...ids) });
}

export async function restore(...ids: string[]): Promise<void> {
  await each(ids, (id) => api.post(`v1/pictures/${id}/restore`));
  told(ids, "restored");
}

/** How many requests go at once. */
const AT_ONCE = 4;

/** Do something with each picture; one that is no longer there counts as done. */
async function each(ids: readonly string[], run: (id: string) => Promise<unknown>) {
  const left = [...ids];
  const worker = async () => {
    for (let id = left.shift(); id !== undefined; id = left.shift()) {
      try {
        await run(id);
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) continue;
        left.length = 0;
        throw error;
      }
    }
    return true;
  };
  return (await attempt(() => Promise.all(Array.from({ length: AT_ONCE }, worker)))) !== null;
}

export function download(picture: Pick<Drawn, "id" | "seed" | "format">, metadata = true): void {
  save(fileOf(picture, metadata), `${picture.seed}-${picture.id.slice(0, 8)}.${picture.format}`);
}

/** Most pictures of one ZIP file. */
const MOST_ZIPPED = 1000;

/** Save pictures as ZIP files, with or without how they were made. */
export async function downloadAll(ids: readonly string[], metadata = true): Promise<void> {
  for (let start = 0; start < ids.length; start += MOST_ZIPPED) {
    const some = ids.slice(start, start + MOST_ZIPPED);
    const asked = { ids: some, ...(metadata ? {} : { metadata }) };
    const packed = await attempt(() => api.blobOf("v1/pictures/zip", asked));
    if (!packed) return;
    saveBlob(packed, start === 0 ? "pictures.zip" : `pictures-${1 + start / MOST_ZIPPED}.zip`);
  }
}

/** Save what is at an address under a name. */
export function save(url: string, name: string): void {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}

/** Save what the page made itself. */
export function saveBlob(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  save(url, name);
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
