/** What happens to the newest job, for screen readers: its beginning, quarters, and end. */

import type { Job } from "../api/types";
import { t } from "../i18n";
import { jobs, progress } from "../state/jobs";

export function Said() {
  const job = jobs.value[0];
  return (
    <p class="hidden" role="status" aria-live="polite">
      {job && Date.now() / 1000 - job.created < 600 ? said(job) : ""}
    </p>
  );
}

function said(job: Job): string {
  if (job.state === "queued") return t("job.said.queued");
  if (job.state === "done") return t("job.said.done", { n: job.pictures.length });
  if (job.state === "failed") return t("job.failed", { reason: job.failure?.message ?? "" });
  if (job.state === "cancelled") return t("job.cancelled");
  const quarter = Math.floor(4 * (progress.value[job.id]?.share ?? 0));
  return t("job.said.running", { percent: 25 * quarter });
}
