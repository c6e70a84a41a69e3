/** What came of a picture: one is shown in its place, compared, opened, or edited next. */
import type { Drawn, Job } from "../../api/types";
import { t } from "../../i18n";
import { deleted, fileOf } from "../../state/pictures";
import { JobView, titleOf } from "../../ui/job";

interface Props {
  jobs: readonly Job[];
  shown: string | null;
  onShow: (picture: Drawn | null) => void;
}

export function Results({ jobs, shown, onShow }: Props) {
  if (jobs.length === 0) return <p class="empty">{t("edit.empty")}</p>;
  return (
    <>
      {jobs.map((job) =>
        job.state === "done" ? (
          <Done key={job.id} job={job} shown={shown} onShow={onShow} />
        ) : (
          <JobView key={job.id} job={job} />
        ),
      )}
    </>
  );
}

function Done({ job, shown, onShow }: { job: Job } & Omit<Props, "jobs">) {
  const title = titleOf(job);
  const there = job.pictures.filter((one) => !deleted.value.has(one.id));
  if (there.length === 0) return null;
  return (
    <section class="job" aria-label={title} data-state="done">
      <div class="job-head">
        <p class="title grow" title={title}>
          {title}
        </p>
      </div>
      <div class="four">
        {there.map((one, i) => (
          <button
            key={one.id}
            type="button"
            class="card choice"
            aria-pressed={one.id === shown}
            onClick={() => onShow(one.id === shown ? null : one)}
          >
            <img
              src={fileOf(one)}
              width={one.width}
              height={one.height}
              alt={t("picture.of", { i: i + 1, n: there.length, prompt: title })}
            />
          </button>
        ))}
      </div>
    </section>
  );
}
