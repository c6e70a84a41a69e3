/** The picture that a tool begins from: a drawn one, or an uploaded file. */
import { address, api } from "../api/client";
import type { Upload } from "../api/types";
import { t } from "../i18n";
import { fileOf } from "./pictures";
import { reason, say } from "./toasts";

/** What the server calls it: the id of a drawn picture, or the digest of an upload. */
export type SourceId = string;

export function urlOf(id: SourceId): string {
  return id.length === 64 ? address(`v1/inputs/${id}`) : fileOf({ id });
}

/** Upload a file. Says what is wrong with it, and returns null then. */
export async function upload(file: Blob): Promise<Upload | null> {
  try {
    return await api.upload<Upload>(file);
  } catch (error) {
    say(t("picture.wrong", { reason: reason(error) }));
    return null;
  }
}

/** The first picture among what was dropped or pasted. */
export function pictureIn(data: DataTransfer | null): File | null {
  return [...(data?.files ?? [])].find((one) => one.type.startsWith("image/")) ?? null;
}
