/** A sweep: a grid of pictures that differ by two things. It goes on over reloads. */
import { computed, effect, signal } from "@preact/signals";
import { ApiError, api } from "../api/client";
import type { Asked, Drawn, Job } from "../api/types";
import { explained } from "../i18n";
import type { AxisKind, Place, Value } from "../tools/_parts/axes";
import { alsoCancel, draw, isOver, jobs, cancel as stop } from "./jobs";
import { kept } from "./kept";
import { entered } from "./session";
import { reason } from "./toasts";

export interface Cell extends Place {
  asked: Asked;
  job: string;
  state: "" | Job["state"];
  picture: Drawn | null;
  reason: string;
}

export interface Sweep {
  /** Tells sweeps apart: an answer may come when another has begun. */
  id?: string;
  title: string;
  axes: { kind: AxisKind; values: Value[] }[];
  cells: Cell[];
  /** Whether cells are still to be asked for. */
  going: boolean;
}

/** Cells that wait or are drawn at a time: others' jobs, and one's own, get their turn too. */
export const AT_ONCE = 2;
const MOST_IDS = 1000;

export const sweep = kept<Sweep | null>("sweep", null);
/** Jobs of sweeps, which other tools do not show as theirs. */
const ids = kept<string[]>("sweep.jobs", []);
export const ofSweeps = computed(() => new Set(ids.value));
/** Why nothing is asked for at the moment: the queue is full, or the server is away. */
export const waits = signal("");

export function pending(of: Sweep): number {
  return of.cells.filter((one) => !isEnded(one)).length;
}

export function isEnded(cell: Cell): boolean {
  return cell.state === "done" || cell.state === "failed" || cell.state === "cancelled";
}

/** The next cell to ask for, while fewer than so many are under way. */
export function nextOf(of: Sweep, most = AT_ONCE): number {
  const under = of.cells.filter((one) => one.job && !isEnded(one)).length;
  return under < most ? of.cells.findIndex((one) => !one.job && !isEnded(one)) : -1;
}

/** A cell with what its job has become. */
export function told(cell: Cell, job: Job): Cell {
  const why = job.failure ? explained(job.failure.code, job.failure.message) : "";
  return { ...cell, state: job.state, picture: job.pictures[0] ?? null, reason: why };
}

function change(at: number, by: Partial<Cell>): void {
  const now = sweep.value;
  if (!now) return;
  const cells = now.cells.map((one, i) => (i === at ? { ...one, ...by } : one));
  sweep.value = { ...now, cells };
}

export function begin(next: Omit<Sweep, "going" | "id">): void {
  const id = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
  sweep.value = { ...next, id, going: true };
  void run();
}

/** Cancel the whole: what is under way, and what was not asked for. */
export async function cancelSweep(): Promise<void> {
  const now = sweep.value;
  if (!now) return;
  const under = now.cells.filter((one) => one.job && !isEnded(one)).map((one) => one.job);
  const cells = now.cells.map((one) =>
    isEnded(one) ? one : { ...one, state: "cancelled" as const },
  );
  sweep.value = { ...now, cells, going: false };
  await Promise.all(under.map((id) => stop(id).catch(() => undefined)));
}

/** Go on with what was cancelled or failed. */
export function resume(): void {
  const now = sweep.value;
  if (!now) return;
  const cells = now.cells.map((one) =>
    one.state === "cancelled" || one.state === "failed"
      ? { ...one, job: "", state: "" as const, reason: "" }
      : one,
  );
  sweep.value = { ...now, cells, going: true };
  void run();
}

let running = false;

/** Ask for cells until all are asked for. In one tab alone, where the browser can tell. */
async function run(): Promise<void> {
  if (running) return;
  running = true;
  try {
    const locks = navigator.locks as LockManager | undefined; // absent without a secure origin
    if (locks) await locks.request("unclip.sweep", askAll);
    else await askAll();
  } finally {
    running = false;
    waits.value = "";
  }
}

async function askAll(): Promise<void> {
  await readCells();
  while (sweep.value?.going) {
    const now = sweep.value;
    const at = nextOf(now);
    if (at >= 0) await askFor(at);
    else if (pending(now) === 0) sweep.value = { ...now, going: false };
    else
      await until(() => !sweep.value?.going || nextOf(sweep.value) >= 0 || !pending(sweep.value));
  }
}

async function askFor(at: number): Promise<void> {
  const of = sweep.value;
  const cell = of?.cells[at];
  if (!cell) return;
  const goes = () => sweep.value?.going === true && sweep.value.id === of.id;
  try {
    const job = await draw(cell.asked);
    ids.value = [...ids.value, job.id].slice(-MOST_IDS);
    waits.value = "";
    if (goes()) change(at, { job: job.id, state: job.state });
    else await stop(job.id).catch(() => undefined); // cancelled in the meantime, or begun anew
  } catch (error) {
    if (!goes()) return;
    const wait = error instanceof ApiError && [0, 429, 503].includes(error.status);
    if (!wait) return change(at, { state: "failed", reason: reason(error) });
    waits.value = reason(error);
    await pause(error.retryAfter ?? 2);
  }
}

/** What became of the jobs while nobody looked. */
async function readCells(): Promise<void> {
  const under = sweep.value?.cells.filter((one) => one.job && !isEnded(one)) ?? [];
  for (const { job: id } of under) {
    try {
      take(await api.get<Job>(`v1/jobs/${id}`));
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) forget(id);
    }
  }
}

function forget(id: string): void {
  const at = sweep.value?.cells.findIndex((one) => one.job === id) ?? -1;
  if (at >= 0) change(at, { job: "", state: "" }); // the server has lost it: it is asked for again
}

function take(job: Job): void {
  const at = sweep.value?.cells.findIndex((one) => one.job === job.id) ?? -1;
  const cell = sweep.value?.cells[at];
  if (cell && !isEnded(cell) && cell.state !== job.state) change(at, told(cell, job));
}

function pause(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
}

function until(holds: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    let end = () => {};
    let over = false;
    end = effect(() => {
      if (over || !holds()) return;
      over = true;
      queueMicrotask(() => {
        end();
        resolve();
      });
    });
  });
}

// What the one stream of events tells of the sweep's jobs.
effect(() => {
  for (const job of jobs.value) if (isOver(job) || job.state === "running") take(job);
});

// After a reload it goes on, once the page may ask.
effect(() => {
  if (entered.value && sweep.peek()?.going) void run();
});

// Who wants all jobs cancelled but one does not want more of them, unless that one is of the sweep.
alsoCancel(async (but) => {
  if (sweep.value?.going && !sweep.value.cells.some((one) => one.job === but)) await cancelSweep();
});

// Another tab tells what it has done.
addEventListener("storage", ({ key, newValue }) => {
  if (key === "unclip.sweep") sweep.value = JSON.parse(newValue ?? "null") as Sweep | null;
});
