/** What the tools share: what is asked for on one side, what comes of it on the other. */
import type { Signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Asked, Drawn, Fields, Job } from "../../api/types";
import { type Key, t } from "../../i18n";
import { go } from "../../router";
import { adopt, handed, set } from "../../state/form";
import { draw, isOver, jobs } from "../../state/jobs";
import { thumbnailOf } from "../../state/pictures";
import type { SourceId } from "../../state/source";
import { attempt } from "../../state/toasts";
import { Button } from "../../ui/button";
import { JobView, titleOf } from "../../ui/job";

interface Props {
  title: Key;
  about: Key;
  /** What is asked for; none: the form cannot be sent yet. */
  ask: (() => Asked) | null;
  label: string;
  form: ComponentChildren;
  children: ComponentChildren;
}

export function ToolPage({ title, about, ask, label, form, children }: Props) {
  const [sending, send] = useState(false);
  const submit = async () => {
    if (!ask || sending) return;
    send(true);
    await attempt(() => draw(ask()));
    send(false);
  };
  return (
    <>
      <Head title={title} about={about} />
      <div class="tool">
        <form
          class="stack tool-form"
          onSubmit={(event) => {
            event.preventDefault();
            void submit();
          }}
        >
          {form}
          <Button type="submit" kind="primary" label={label} disabled={!ask || sending} />
        </form>
        <div class="tool-result">{children}</div>
      </div>
    </>
  );
}

export function Head({ title, about }: { title: Key; about: Key }) {
  return (
    <div class="page-head">
      <p class="page-title" aria-hidden="true">
        {t(title)}
      </p>
      <p>{t(about)}</p>
    </div>
  );
}

/** The picture that a tool begins with: of its address, or what it began with before. */
export function useSource(
  tool: string,
  argument: string,
  fields: Signal<Fields>,
  name = "image",
): [SourceId, (id: SourceId) => void] {
  const before = String(fields.value[name] ?? "");
  useEffect(() => {
    if (argument && argument !== fields.value[name]) set(fields, name, argument);
  }, [argument, fields, name]);
  const choose = (id: SourceId) => {
    set(fields, name, id);
    go(tool, id);
  };
  return [argument || before, choose];
}

/** Fill a form with what another place handed over to this tool. */
export function useHanded(
  tool: string,
  fields: Signal<Fields>,
  read: (fields: Fields, inputs: Record<string, string>) => Fields = (own, inputs) => ({
    ...own,
    ...inputs,
  }),
): void {
  const given = handed.value;
  useEffect(() => {
    if (given?.tool !== tool) return;
    adopt(tool, fields, read(given.fields, given.inputs));
    handed.value = null;
  }, [given, tool, fields, read]);
}

/** Own jobs of an ability, newest first; all that the page knows, so also those of another tab. */
export function jobsOf(ability: string): readonly Job[] {
  return jobs.value.filter((one) => one.ability === ability);
}

interface ListProps {
  ability: string;
  empty: Key;
  /** A picture to show before those drawn. */
  before?: (job: Job) => ComponentChildren;
}

/** All jobs of a tool, one below the other. */
export function JobList({ ability, empty, before }: ListProps) {
  const own = jobsOf(ability);
  if (own.length === 0) return <p class="empty">{t(empty)}</p>;
  return (
    <>
      {own.map((job) => (
        <JobView key={job.id} job={job} before={before?.(job)} />
      ))}
    </>
  );
}

interface ShownProps {
  ability: string;
  empty: Key;
  result: (job: Job, pictures: readonly Drawn[]) => ComponentChildren;
}

/** One job of a tool at a time, the newest at first; the others are a row to choose from. */
export function JobShown({ ability, empty, result }: ShownProps) {
  const own = jobsOf(ability);
  const newest = own[0]?.id ?? "";
  const [chosen, choose] = useState(newest);
  // What was just asked for is what one wants to see.
  useEffect(() => choose(newest), [newest]);
  const job = own.find((one) => one.id === chosen) ?? own[0];
  if (!job) return <p class="empty">{t(empty)}</p>;
  const ended = own.filter((one) => isOver(one) && one.pictures.length > 0);
  return (
    <div class="stack">
      <JobView key={job.id} job={job} result={(pictures) => result(job, pictures)} />
      {ended.length > 1 && (
        <section class="earlier" aria-label={t("tools.earlier")}>
          <p class="small soft">{t("tools.earlier")}</p>
          <ul class="row">
            {ended.map((one) => (
              <li key={one.id}>
                <button
                  type="button"
                  class="thumb"
                  aria-pressed={one.id === job.id}
                  aria-label={titleOf(one)}
                  title={titleOf(one)}
                  onClick={() => choose(one.id)}
                >
                  {one.pictures.at(-1) && (
                    <img src={thumbnailOf(one.pictures.at(-1) as Drawn)} alt="" loading="lazy" />
                  )}
                </button>
              </li>
            ))}
          </ul>
        </section>
      )}
    </div>
  );
}
