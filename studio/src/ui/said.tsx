/** What happens to jobs, for screen readers: beginning, quarters, and end. */

import type { Job } from "../api/types";
import { t } from "../i18n";
import { jobs, progress } from "../state/jobs";
import { ofSweeps } from "../state/sweep";
import { failureOf } from "./job";

export function Said() {
  const job = toSay(jobs.value, ofSweeps.value, Date.now() / 1000);
  return (
    <p class="hidden" role="status" aria-live="polite">
      {job ? said(job) : ""}
    </p>
  );
}

const RECENT_S = 600;

/** The job to speak of: what is drawn now, or the newest. A sweep tells of its many jobs itself. */
export function toSay(all: readonly Job[], sweeps: ReadonlySet<string>, now: number): Job | null {
  const recent = all.filter((one) => !sweeps.has(one.id) && now - one.created < RECENT_S);
  return recent.find((one) => one.state === "running") ?? recent[0] ?? null;
}

function said(job: Job): string {
  if (job.state === "queued") return t("job.said.queued");
  if (job.state === "done") return t("job.said.done", { n: job.pictures.length });
  if (job.state === "failed") return t("job.failed", { reason: failureOf(job) });
  if (job.state === "cancelled") return t("job.cancelled");
  const quarter = Math.floor(4 * (progress.value[job.id]?.share ?? 0));
  return t("job.said.running", { percent: 25 * quarter });
}
