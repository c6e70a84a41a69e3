/** A job: what was asked, how far it is, its previews and its pictures. */
import type { Job } from "../api/types";
import { t } from "../i18n";
import { cancel, cancelOthers, isOver, open, previews, progress } from "../state/jobs";
import { attempt } from "../state/toasts";
import { Button } from "./button";
import { PictureCard } from "./picture";

/** What a job draws, in a few words. */
export function titleOf(job: Pick<Job, "fields" | "ability">): string {
  const { prompt, source, target, a, b } = job.fields as Record<string, string | undefined>;
  if (prompt) return prompt;
  if (source && target) return `${source} → ${target}`;
  return a && b ? `${a} → ${b}` : job.ability;
}

/** How many pictures a job draws. */
export function countOf(job: Job): number {
  const { n, frames, dims } = job.fields as { n?: number; frames?: number; dims?: unknown[] };
  const own = job.ability === "interpolate" || job.ability === "textdiff" ? 8 : 1;
  return frames ?? n ?? dims?.length ?? own;
}

function said(job: Job): string {
  if (job.state === "queued") {
    return job.place ? `${t("job.queued")} · ${t("job.place", { n: job.place })}` : t("job.queued");
  }
  if (job.state === "failed") return t("job.failed", { reason: job.failure?.message ?? "" });
  if (job.state !== "running") return t(`job.${job.state}`);
  const share = progress.value[job.id]?.share ?? 0;
  return `${t("job.running")} · ${t("job.share", { percent: Math.round(100 * share) })}`;
}

export function JobView({ job }: { job: Job }) {
  const title = titleOf(job);
  const over = isOver(job);
  return (
    <section class="job" aria-label={title} data-state={job.state}>
      <div class="job-head">
        <p class="title grow" title={title}>
          {title}
        </p>
        {job.state !== "done" && <span class="soft small">{said(job)}</span>}
        {!over && (
          <Button
            icon="close"
            kind="plain"
            label={t("job.cancel")}
            bare
            onClick={() => void attempt(() => cancel(job.id))}
          />
        )}
        {!over && open.value.length > 1 && (
          <Button
            kind="plain"
            label={t("job.cancelOthers")}
            onClick={() => void attempt(() => cancelOthers(job.id))}
          />
        )}
      </div>
      {!over && <Bar share={progress.value[job.id]?.share ?? 0} label={title} />}
      <div class="four">
        {over
          ? job.pictures.map((one, i) => (
              <PictureCard
                key={one.id}
                picture={one}
                label={t("picture.of", { i: i + 1, n: job.pictures.length, prompt: title })}
              />
            ))
          : Array.from({ length: countOf(job) }, (_, i) => (
              <Waiting key={i} url={previews.value[job.id]?.[i]} />
            ))}
      </div>
    </section>
  );
}

export function Bar({ share, label }: { share: number; label: string }) {
  const percent = Math.round(100 * share);
  return (
    <div
      class="bar"
      role="progressbar"
      aria-label={label}
      aria-valuenow={percent}
      aria-valuemin={0}
      aria-valuemax={100}
    >
      <span style={{ width: `${percent}%` }} />
    </div>
  );
}

function Waiting({ url }: { url: string | undefined }) {
  if (url) {
    return (
      <div class="card preview">
        <img src={url} alt="" />
      </div>
    );
  }
  return (
    <div class="card waiting">
      <span class="hidden">{t("job.queued")}</span>
    </div>
  );
}
