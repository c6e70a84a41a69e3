/** What can be done with pictures, wherever they are shown. */
import { signal } from "@preact/signals";
import { address, api } from "../api/client";
import type { Drawn, Picture } from "../api/types";
import { t } from "../i18n";
import { attempt, say } from "./toasts";

/** Counts changes: lists of pictures read themselves again when it moves. */
export const changes = signal(0);
/** Favourites that the page knows, by picture. */
export const favourites = signal<Readonly<Record<string, boolean>>>({});
export const deleted = signal<ReadonlySet<string>>(new Set());

/** The file, which needs a session and is there as long as the picture. */
export function fileOf(picture: Pick<Drawn, "id">, metadata = true): string {
  return address(`v1/pictures/${picture.id}/file${metadata ? "" : "?metadata=false"}`);
}

export function thumbnailOf(picture: Pick<Drawn, "id">, side = 256): string {
  return address(`v1/pictures/${picture.id}/thumbnail?side=${side}`);
}

export function know(some: readonly Picture[]): void {
  const told = Object.fromEntries(some.map((one) => [one.id, one.favourite]));
  favourites.value = { ...favourites.value, ...told };
}

export async function favour(id: string): Promise<void> {
  const favourite = !favourites.value[id];
  favourites.value = { ...favourites.value, [id]: favourite };
  const done = await attempt(() => api.patch(`v1/pictures/${id}`, { favourite }));
  if (done === null) favourites.value = { ...favourites.value, [id]: !favourite };
  else say(t(favourite ? "picture.marked" : "picture.unmarked"));
}

export async function remove(...ids: string[]): Promise<void> {
  const done = await attempt(() => Promise.all(ids.map((id) => api.delete(`v1/pictures/${id}`))));
  if (done === null) return;
  deleted.value = new Set([...deleted.value, ...ids]);
  changes.value += 1;
  say(t("picture.deleted"), { text: t("action.undo"), run: () => void restore(...ids) });
}

export async function restore(...ids: string[]): Promise<void> {
  await attempt(() => Promise.all(ids.map((id) => api.post(`v1/pictures/${id}/restore`))));
  deleted.value = new Set([...deleted.value].filter((one) => !ids.includes(one)));
  changes.value += 1;
}

export function download(picture: Pick<Drawn, "id" | "seed" | "format">, metadata = true): void {
  save(fileOf(picture, metadata), `${picture.seed}-${picture.id.slice(0, 8)}.${picture.format}`);
}

/** Save what is at an address under a name. */
export function save(url: string, name: string): void {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}
