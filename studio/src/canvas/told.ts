/** What the page knows, or may ask, of a picture that a tool begins from. */
import { signal } from "@preact/signals";
import { api } from "../api/client";
import type { Fields, Job, Picture } from "../api/types";
import { jobs } from "../state/jobs";
import { kept } from "../state/kept";
import type { SourceId } from "../state/source";

/** Prompts of pictures, as far as they are known. */
const prompts = signal<Readonly<Record<SourceId, string>>>({});
/** The server's name of a drawn picture as an input: by it, a picture's jobs are found. */
const digests = kept<Readonly<Record<SourceId, string>>>("digests", {});
const MOST = 500;

function promptIn(fields: Fields): string {
  return typeof fields["prompt"] === "string" ? fields["prompt"] : "";
}

/** What a picture was drawn of; empty where nobody knows. */
export function promptOf(id: SourceId): string {
  return prompts.value[id] ?? "";
}

/** Find what a picture was drawn of. */
export async function askPrompt(id: SourceId): Promise<void> {
  if (id in prompts.peek()) return;
  const made = jobs.peek().find((job) => job.pictures.some((one) => one.id === id));
  const fields = made?.fields ?? (await fieldsOf(id));
  if (fields) prompts.value = { ...prompts.peek(), [id]: promptIn(fields) };
}

async function fieldsOf(id: SourceId): Promise<Fields | null> {
  if (id.length > 32) return null; // an upload
  try {
    return (await api.get<Picture>(`v1/pictures/${id}`)).fields;
  } catch {
    return null; // a prefilled text alone
  }
}

export function learnDigest(id: SourceId, job: Job): void {
  const digest = job.inputs["image"];
  if (!digest || digest === id || digests.value[id] === digest) return;
  const others = Object.entries(digests.value).slice(-MOST);
  digests.value = { ...Object.fromEntries(others), [id]: digest };
}

/** Jobs of an ability that began from a picture, newest first. */
export function jobsFrom(ability: string, id: SourceId): readonly Job[] {
  const names = new Set([id, digests.value[id] ?? id]);
  return jobs.value.filter(
    (one) => one.ability === ability && names.has(one.inputs["image"] ?? ""),
  );
}
