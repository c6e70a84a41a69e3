/** All own jobs that the page knows, kept true by one stream of events. */
import { batch, computed, signal } from "@preact/signals";
import { api } from "../api/client";
import type { Asked, Job } from "../api/types";
import { remember } from "./source";

export interface Progress {
  stage: string;
  share: number;
}

/** Newest first. */
export const jobs = signal<readonly Job[]>([]);
export const progress = signal<Readonly<Record<string, Progress>>>({});
/** Of running jobs: the newest preview of each picture, as a data URL. */
export const previews = signal<Readonly<Record<string, readonly (string | undefined)[]>>>({});

const MOST_KEPT = 60;

export const open = computed(() => jobs.value.filter((one) => !isOver(one)));

export function isOver(job: Job): boolean {
  return job.state === "done" || job.state === "failed" || job.state === "cancelled";
}

export function jobOf(id: string): Job | null {
  return jobs.value.find((one) => one.id === id) ?? null;
}

/** Put a job in its place, by when it was made; ended jobs beyond a number are forgotten. */
export function put(job: Job): void {
  const others = jobs.value.filter((one) => one.id !== job.id);
  const all = [...others, job].sort((a, b) => b.created - a.created);
  batch(() => {
    jobs.value = all.filter((one, i) => i < MOST_KEPT || !isOver(one));
    if (isOver(job)) forget(job.id);
  });
}

function forget(id: string): void {
  const { [id]: _, ...steps } = progress.value;
  const { [id]: __, ...pictures } = previews.value;
  progress.value = steps;
  previews.value = pictures;
}

export function change(id: string, by: Partial<Job>): void {
  const job = jobOf(id);
  if (job && !isOver(job)) put({ ...job, ...by });
}

export function step(id: string, told: Progress): void {
  progress.value = { ...progress.value, [id]: told };
}

export function preview(id: string, index: number, url: string): void {
  const shown = [...(previews.value[id] ?? [])];
  shown[index] = url;
  previews.value = { ...previews.value, [id]: shown };
}

/** Ask for pictures. Raises ApiError. */
export async function draw(asked: Asked): Promise<Job> {
  const job = await api.post<Job>("v1/jobs", asked);
  if (!jobOf(job.id)) put(job);
  if (asked.inputs) remember(asked.inputs, job.inputs);
  return job;
}

export async function cancel(id: string): Promise<void> {
  put(await api.post<Job>(`v1/jobs/${id}/cancel`));
}

/** Cancel every job but one. */
export async function cancelOthers(id: string): Promise<void> {
  await Promise.all(open.value.filter((one) => one.id !== id).map((one) => cancel(one.id)));
}

/** Own jobs of before, newest first. */
export async function readJobs(): Promise<void> {
  const { data } = await api.get<{ data: Job[] }>("v1/jobs?limit=30");
  batch(() => data.forEach(put));
}
