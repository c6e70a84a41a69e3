/** The stream of what happens to own jobs. The browser connects again by itself after a break. */
import { signal } from "@preact/signals";
import { readCapabilities } from "../state/capabilities";
import { change, preview, put, readJobs, settle, step } from "../state/jobs";
import { changes, told } from "../state/pictures";
import { entered, readSession } from "../state/session";
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
    void settle(jobs);
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
    void readJobs().catch(() => undefined); // the stream tells of what is open
    void readCapabilities(); // it may be another server than before
  };
  source.onerror = () => {
    line.value = "broken";
    if (source?.readyState === EventSource.CLOSED) void refused(source);
  };
  for (const [kind, handle] of Object.entries(HANDLERS)) {
    source.addEventListener(kind, (event) => handle(JSON.parse(event.data)));
  }
}

/** The server said no: the session may have ended, or it is another server. Else, try again. */
async function refused(by: EventSource): Promise<void> {
  try {
    await readSession();
  } catch {
    // It does not answer: it is tried again.
  }
  if (source !== by || !entered.peek()) return; // who follows anew has been told
  again = setTimeout(follow, RETRY_MS);
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
