/** The picture that a tool begins from: a drawn one, or an uploaded file. */
import { ApiError, api } from "../api/client";
import type { Upload } from "../api/types";
import { t } from "../i18n";
import { kept } from "./kept";
import { fileOf } from "./pictures";
import { reason, say } from "./toasts";

/** What the server calls it: the id of a drawn picture, or the digest of an upload. */
export type SourceId = string;

export function urlOf(id: SourceId): string {
  return fileOf({ id });
}

/** Upload a file. Says what is wrong with it, and returns null then. */
export async function upload(file: Blob): Promise<Upload | null> {
  try {
    return await api.upload<Upload>(file);
  } catch (error) {
    const wrong = error instanceof ApiError && error.status === 400;
    say(wrong ? t("picture.wrong", { reason: reason(error) }) : reason(error));
    return null;
  }
}

/** The first picture among what was dropped or pasted. */
export function pictureIn(data: DataTransfer | null): File | null {
  return [...(data?.files ?? [])].find((one) => one.type.startsWith("image/")) ?? null;
}

/** Digest of an input -> the drawn picture that it is. A job tells of its inputs by digest alone. */
const origins = kept<Record<string, string>>("origins", {});
const MOST_ORIGINS = 500;
const DRAWN = /^[0-9a-f]{32}$/;

/** Remember which drawn pictures a job begins from. */
export function remember(asked: Record<string, string>, stored: Record<string, string>): void {
  const found = Object.entries(asked)
    .filter(([, id]) => DRAWN.test(id))
    .flatMap(([name, id]) => (stored[name] ? [[stored[name], id] as const] : []));
  if (found.length === 0) return;
  const all = Object.entries({ ...origins.value, ...Object.fromEntries(found) });
  origins.value = Object.fromEntries(all.slice(-MOST_ORIGINS));
}

/** The drawn picture that an input is, where this browser knows it. */
export function originOf(id: string): string | null {
  return DRAWN.test(id) ? id : (origins.value[id] ?? null);
}
