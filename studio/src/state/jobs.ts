/** All own jobs that the page knows, kept true by one stream of events. */
import { batch, computed, signal } from "@preact/signals";
import { ApiError, api } from "../api/client";
import type { Asked, Job } from "../api/types";
import { know } from "./pictures";
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

/**
 * Put a job in its place, by when it was made; ended jobs beyond a number are forgotten. An answer
 * that is older than a job's end does not bring it back.
 */
export function put(job: Job): void {
  const before = jobs.peek().find((one) => one.id === job.id);
  if (before && isOver(before) && !isOver(job)) return;
  const others = jobs.value.filter((one) => one.id !== job.id);
  const all = [...others, job].sort((a, b) => b.created - a.created);
  batch(() => {
    jobs.value = all.filter((one, i) => i < MOST_KEPT || !isOver(one));
    if (isOver(job)) forget(job.id);
    know(job.pictures);
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

type Canceller = (but: string) => Promise<void>;
const cancellers = new Set<Canceller>();

/** Have something else cancelled with all other jobs: what asks for more of them by itself. */
export function alsoCancel(run: Canceller): void {
  cancellers.add(run);
}

/** Cancel every job but one. */
export async function cancelOthers(id: string): Promise<void> {
  await Promise.all([...cancellers].map((run) => run(id)));
  await Promise.all(open.value.filter((one) => one.id !== id).map((one) => cancel(one.id)));
}

/** Own jobs of before, newest first. */
export async function readJobs(): Promise<void> {
  const { data } = await api.get<{ data: Job[] }>("v1/jobs?limit=30");
  batch(() => data.forEach(put));
}

/**
 * Ask what became of the jobs that are open here, and that the server does not tell of as open: they
 * ended while nobody listened.
 */
export async function settle(told: readonly Job[]): Promise<void> {
  const there = new Set(told.map((one) => one.id));
  const unknown = open.peek().filter((one) => !there.has(one.id));
  await Promise.all(unknown.map(({ id }) => ask(id)));
}

async function ask(id: string): Promise<void> {
  try {
    put(await api.get<Job>(`v1/jobs/${id}`));
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 404) return; // the next time, then
    batch(() => {
      jobs.value = jobs.value.filter((one) => one.id !== id);
      forget(id);
    });
  }
}
