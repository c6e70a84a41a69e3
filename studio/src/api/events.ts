/** The stream of what happens to own jobs. The browser connects again by itself after a break. */
import { signal } from "@preact/signals";
import { change, preview, put, readJobs, step } from "../state/jobs";
import { type Change, changes, told } from "../state/pictures";
import { address } from "./client";
import type { Job } from "./types";

export type Line = "connecting" | "open" | "broken";
export const line = signal<Line>("connecting");

let source: EventSource | null = null;
let again: ReturnType<typeof setTimeout> | undefined;

const RETRY_MS = 2000;

type Told = Record<string, unknown> & { job?: unknown };

const HANDLERS: Record<string, (data: Told) => void> = {
  jobs: (data) => {
    for (const one of data["jobs"] as Job[]) put(one);
    changes.value += 1; // some may have ended unseen
  },
  job: (data) => put(data.job as Job),
  queued: (data) => change(idOf(data), { state: "queued", place: data["place"] as number }),
  started: (data) => change(idOf(data), { state: "running", place: null }),
  step: (data) =>
    step(idOf(data), { stage: String(data["stage"]), share: Number(data["share"]) || 0 }),
  preview: (data) =>
    preview(idOf(data), Number(data["index"]), `data:image/png;base64,${data["picture"]}`),
  done: ended,
  failed: ended,
  cancelled: ended,
  pictures: (data) => told(data["ids"] as string[], data["change"] as Change),
};

function idOf(data: Told): string {
  return typeof data.job === "string" ? data.job : String(data["id"] ?? (data.job as Job)?.id);
}

function ended(data: Told): void {
  if (typeof data.job === "object" && data.job) put(data.job as Job);
  changes.value += 1;
}

/** Follow until `stop`; once it is open, what happened before is read too. */
export function follow(): void {
  stop();
  source = new EventSource(address("v1/events"));
  source.onopen = () => {
    line.value = "open";
    void readJobs();
  };
  source.onerror = () => {
    line.value = "broken";
    if (source?.readyState === EventSource.CLOSED) again = setTimeout(follow, RETRY_MS);
  };
  for (const [kind, handle] of Object.entries(HANDLERS)) {
    source.addEventListener(kind, (event) => handle(JSON.parse(event.data) as Told));
  }
}

export function stop(): void {
  clearTimeout(again);
  source?.close();
  source = null;
}

// A laptop that slept, or a tab that was frozen, may hold a dead connection.
addEventListener("online", follow);
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && line.value === "broken") follow();
});
