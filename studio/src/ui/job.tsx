/** A job: what was asked, how far it is, its previews and its pictures, and what to do next. */
import type { ComponentChildren } from "preact";
import type { Drawn, Job } from "../api/types";
import { takeRecipe } from "../gallery/hand";
import { explained, type Key, t } from "../i18n";
import { en } from "../i18n/en";
import { randomSeed, seed } from "../state/form";
import { cancel, cancelOthers, draw, isOver, open, previews, progress } from "../state/jobs";
import { attempt, say } from "../state/toasts";
import { Button } from "./button";
import { PictureCard } from "./picture";

/** What a job draws, in a few words. */
export function titleOf(job: Pick<Job, "fields" | "ability">): string {
  const { prompt, source, target, a, b } = job.fields as Record<string, string | undefined>;
  if (prompt) return prompt;
  if (source && target) return `${source} → ${target}`;
  if (job.ability === "interpolate") {
    return `${a ?? t("job.picture")} → ${b ?? t("job.picture")}`;
  }
  const key = `${job.ability}.title`;
  const name = key in en ? t(key as Key) : job.ability;
  return job.ability === "vary" ? `${name} · ${job.fields["eta"] ?? 0.8}` : name;
}

/** Why a job failed. */
export function failureOf({ failure }: Pick<Job, "failure">): string {
  return failure ? explained(failure.code, failure.message) : "";
}

/** How many pictures a job draws. */
export function countOf(job: Job): number {
  const { n, frames, dims } = job.fields as { n?: number; frames?: number; dims?: unknown[] };
  const own = { interpolate: 8, textdiff: 4, reconstruct: 3 }[job.ability] ?? 1;
  return frames ?? n ?? dims?.length ?? own;
}

function said(job: Job): string {
  if (job.state === "queued") {
    return job.place ? `${t("job.queued")} · ${t("job.place", { n: job.place })}` : t("job.queued");
  }
  if (job.state !== "running")
    return t(job.state === "failed" ? "job.failedShort" : `job.${job.state}`);
  const share = progress.value[job.id]?.share ?? 0;
  return `${t("job.running")} · ${t("job.share", { percent: Math.round(100 * share) })}`;
}

/** Ask for the same once more. Another seed gives other pictures. */
function again(job: Job, own: number | null): void {
  const fields = own === null ? job.fields : { ...job.fields, seed: own };
  const { ability, inputs, model } = job;
  void attempt(() => draw({ ability, fields, inputs, model }));
}

interface Props {
  job: Job;
  /** A picture that stands before those drawn. */
  before?: ComponentChildren;
  /** How the drawn pictures are shown, where not as cards. */
  result?: (pictures: readonly Drawn[]) => ComponentChildren;
}

export function JobView({ job, before, result }: Props) {
  const title = titleOf(job);
  const over = isOver(job);
  const drawn = job.pictures.length > 0;
  return (
    <section class="job" aria-label={title} data-state={job.state}>
      <div class="job-head">
        <p class="title grow" title={title}>
          {title}
        </p>
        {job.state !== "done" && <span class="soft small state">{said(job)}</span>}
        {over ? <After job={job} /> : <During job={job} />}
      </div>
      {!over && <Bar share={progress.value[job.id]?.share ?? 0} label={title} />}
      {job.state === "failed" && (
        <p class="banner bad small">
          <span class="grow">{t("job.failed", { reason: failureOf(job) })}</span>
          <Button label={t("action.retry")} onClick={() => again(job, null)} />
        </p>
      )}
      {over && drawn && result
        ? result(job.pictures)
        : (!over || drawn) && (
            <div class="four">
              {before}
              {over ? <Cards job={job} title={title} /> : <Coming job={job} />}
            </div>
          )}
    </section>
  );
}

function Cards({ job, title }: { job: Job; title: string }) {
  const n = job.pictures.length;
  return (
    <>
      {job.pictures.map((one, i) => (
        <PictureCard
          key={one.id}
          picture={one}
          label={t("picture.of", { i: i + 1, n, prompt: title })}
        />
      ))}
    </>
  );
}

function During({ job }: { job: Job }) {
  return (
    <>
      {open.value.length > 1 && (
        <Button
          kind="plain"
          label={t("job.cancelOthers")}
          onClick={() => void attempt(() => cancelOthers(job.id))}
        />
      )}
      <Button
        icon="close"
        kind="plain"
        label={t("job.cancel")}
        bare
        onClick={() => void attempt(() => cancel(job.id))}
      />
    </>
  );
}

function After({ job }: { job: Job }) {
  const own = job.pictures[0]?.seed ?? job.fields["seed"];
  const value = typeof own === "number" ? own : null;
  const kept = seed.value.locked && seed.value.value === value;
  return (
    <div class="row job-after">
      {job.state === "done" && value !== null && (
        <Button
          kind="plain"
          icon={kept ? "lock" : "unlock"}
          pressed={kept}
          label={t("job.sameSeed")}
          onClick={() => {
            seed.value = { value, locked: !kept };
            if (!kept) say(t("job.seedKept", { seed: value }));
          }}
        />
      )}
      {job.state !== "failed" && (
        <Button
          kind="plain"
          icon="redo"
          label={t("job.again")}
          onClick={() => again(job, randomSeed())}
        />
      )}
      <Button
        bare
        kind="plain"
        icon="sliders"
        label={t("make.again")}
        onClick={() => {
          takeRecipe(job, value ?? undefined);
          scrollTo({ top: 0 });
        }}
      />
    </div>
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

/** Previews of what is drawn, less blurred the further it is. */
function Coming({ job }: { job: Job }) {
  const share = progress.value[job.id]?.share ?? 0;
  const shown = previews.value[job.id];
  return (
    <>
      {Array.from({ length: countOf(job) }, (_, i) => (
        <Waiting key={i} url={shown?.[i]} share={share} />
      ))}
    </>
  );
}

export function Waiting({ url, share }: { url: string | undefined; share: number }) {
  if (url) {
    return (
      <div class="card preview">
        <img src={url} alt="" style={{ filter: `blur(${(9 * (1 - share)).toFixed(1)}px)` }} />
      </div>
    );
  }
  return (
    <div class="card waiting">
      <span class="hidden">{t("job.queued")}</span>
    </div>
  );
}
