/** The stream of what happens to own jobs. The browser connects again by itself after a break. */
import { signal } from "@preact/signals";
import { change, preview, put, readJobs, step } from "../state/jobs";
import { changes, told } from "../state/pictures";
import { address } from "./client";
import type { Events } from "./types";

export type Line = "connecting" | "open" | "broken";
export const line = signal<Line>("connecting");

let source: EventSource | null = null;
let again: ReturnType<typeof setTimeout> | undefined;

const RETRY_MS = 2000;

const HANDLERS: { [Kind in keyof Events]: (data: Events[Kind]) => void } = {
  jobs: ({ jobs }) => {
    for (const one of jobs) put(one);
    changes.value += 1; // some may have ended unseen
  },
  job: ({ job }) => put(job),
  queued: ({ job, place }) => change(job, { state: "queued", place }),
  started: ({ job }) => change(job, { state: "running", place: null }),
  step: ({ job, stage, share }) => step(job, { stage, share }),
  preview: ({ job, index, picture }) => preview(job, index, `data:image/png;base64,${picture}`),
  done: ended,
  failed: ended,
  cancelled: ended,
  pictures: ({ ids, change }) => told(ids, change),
};

/** The job itself is told before its end. */
function ended(): void {
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
    source.addEventListener(kind, (event) => handle(JSON.parse(event.data)));
  }
}

export function stop(): void {
  clearTimeout(again);
  source?.close();
  source = null;
}

// A laptop that slept, or a tab that was frozen, may hold a dead connection that nothing tells of:
// the clock went on without the page. Timers of a hidden tab run once a minute.
const TICK_MS = 10_000;
const SLEPT_MS = 90_000;
let ticked = Date.now();
setInterval(() => {
  const slept = Date.now() - ticked > SLEPT_MS;
  ticked = Date.now();
  if (slept && source) follow();
}, TICK_MS);

addEventListener("online", () => source && follow());
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && source && line.value === "broken") follow();
});
