/** A prompt drawn with one thing changed across, another down, and all else the same. */
import type { Signal } from "@preact/signals";
import { useState } from "preact/hooks";
import type { Fields } from "../api/types";
import { type Key, t } from "../i18n";
import { href } from "../router";
import { model } from "../state/capabilities";
import { asked, form, nextSeed, set } from "../state/form";
import { previews, progress } from "../state/jobs";
import { fileOf, saveBlob } from "../state/pictures";
import {
  begin,
  type Cell,
  cancelSweep,
  pending,
  resume,
  type Sweep,
  sweep,
  waits,
} from "../state/sweep";
import { attempt } from "../state/toasts";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { Choice, Field, Text } from "../ui/field";
import { Bar, Waiting } from "../ui/job";
import { Settings } from "../ui/settings";
import * as axes from "./_parts/axes";
import { Head, useHanded } from "./_parts/page";
import { sheetOf } from "./_parts/sheet";
import type { Tool } from "./tool";

/** Of more pictures, it asks first. */
const MANY = 64;
const START: Fields = {
  prompt: "",
  x: { kind: "guidance", text: "1, 2, 4" },
  y: { kind: "seed", text: "1..3" },
};

function Sweeps() {
  const fields = form("sweep", START);
  useHanded("sweep", fields);
  const [sure, ask] = useState(false);
  const prompt = String(fields.value["prompt"] ?? "");
  const read = (name: "x" | "y") => (fields.value[name] ?? START[name]) as axes.Axis;
  const [x, y] = [read("x"), read("y")];
  const [xs, ys] = [x, y].map((one) => axes.parse(one, axes.namesOf(one.kind, model.value)));
  const both = xs?.values && ys?.values ? axes.fault(prompt, x, y, xs.values, ys.values) : null;
  const count = xs?.values && ys?.values ? xs.values.length * ys.values.length : 0;
  const ready = prompt.trim() !== "" && count > 0 && !both;
  const going = sweep.value?.going ?? false;
  const start = () => {
    ask(false);
    if (xs?.values && ys?.values) begin(planned(fields.value, prompt, x, y, xs.values, ys.values));
  };
  return (
    <>
      <Head title="sweep.title" about="sweep.about" />
      <div class="tool">
        <form
          class="stack tool-form"
          onSubmit={(event) => {
            event.preventDefault();
            if (ready && !going) count > MANY ? ask(true) : start();
          }}
        >
          <Text
            label={t("make.prompt")}
            placeholder={t("make.placeholder")}
            value={prompt}
            onChange={(text) => set(fields, "prompt", text)}
          />
          <AxisField name="x" axis={x} fields={fields} wrong={said(xs?.wrong)} />
          <AxisField name="y" axis={y} fields={fields} wrong={said(ys?.wrong)} />
          {both && <p class="wrong small">{said(both)}</p>}
          <Settings
            tool="generate"
            fields={fields.value}
            without={["prompt", "n"]}
            onChange={(name, value) => set(fields, name, value)}
          />
          <p class="small soft" aria-live="polite">
            {count > 0 && t("sweep.count", { n: count })}
          </p>
          <Button type="submit" kind="primary" label={t("sweep.draw")} disabled={!ready || going} />
        </form>
        <div class="tool-result">
          {sweep.value ? <Grid of={sweep.value} /> : <p class="empty">{t("sweep.empty")}</p>}
        </div>
      </div>
      {sure && (
        <Dialog title={t("sweep.sure", { n: count })} onClose={() => ask(false)}>
          <div class="stack">
            <p>{t("sweep.sure.help")}</p>
            <div class="row">
              <Button kind="primary" label={t("sweep.draw")} onClick={start} />
              <Button label={t("action.cancel")} onClick={() => ask(false)} />
            </div>
          </div>
        </Dialog>
      )}
    </>
  );
}

function said(wrong: axes.Wrong | null | undefined): string {
  return wrong ? t(wrong.key, wrong.values) : "";
}

interface AxisProps {
  name: "x" | "y";
  axis: axes.Axis;
  fields: Signal<Fields>;
  wrong: string;
}

function AxisField({ name, axis, fields, wrong }: AxisProps) {
  const change = (by: Partial<axes.Axis>) => set(fields, name, { ...axis, ...by });
  const names = axes.namesOf(axis.kind, model.value);
  const kinds = axes.AXES.filter(
    (kind) =>
      (kind !== "none" || name === "y") &&
      (!["prior", "decoder"].includes(kind) || axes.namesOf(kind, model.value).length > 1),
  );
  return (
    <fieldset class="stack axis">
      <Choice
        label={t(`sweep.${name}`)}
        value={axis.kind}
        options={kinds.map((kind) => [kind, axisName(kind)] as const)}
        onChange={(kind) => change({ kind, text: beginning(kind) })}
      />
      {axis.kind !== "none" && (
        <Field
          label={t("sweep.values", { axis: t(`sweep.${name}`) })}
          help={helpOf(axis.kind, names)}
          wrong={wrong}
        >
          {({ id, describedby }) => (
            <input
              id={id}
              type="text"
              aria-describedby={describedby}
              aria-invalid={wrong ? true : undefined}
              value={axis.text}
              onInput={(event) => change({ text: event.currentTarget.value })}
            />
          )}
        </Field>
      )}
    </fieldset>
  );
}

function axisName(kind: axes.AxisKind): string {
  return t(`sweep.axis.${kind}` as Key);
}

function helpOf(kind: axes.AxisKind, names: readonly string[]): string {
  if (names.length > 0) return t("sweep.help.names", { names: names.join(", ") });
  if (kind === "words") return t("sweep.help.words");
  return t(axes.isNumber(kind) ? "sweep.help.numbers" : "sweep.help.texts");
}

/** Values to begin an axis with. */
function beginning(kind: axes.AxisKind): string {
  const names = axes.namesOf(kind, model.value).slice(0, 3).join(", ");
  const known: Partial<Record<axes.AxisKind, string>> = {
    seed: "1..4",
    guidance: "1, 2, 4",
    steps: "2, 4, 8",
    eta: "0..1 by 0.5",
  };
  return names || (known[kind] ?? "");
}

function planned(
  fields: Fields,
  prompt: string,
  x: axes.Axis,
  y: axes.Axis,
  xs: axes.Value[],
  ys: axes.Value[],
): Omit<Sweep, "going"> {
  const seed = nextSeed();
  const cells = axes.order(xs.length, ys.length).map((place): Cell => {
    const along = [
      { kind: x.kind, values: xs, at: place.x },
      { kind: y.kind, values: ys, at: place.y },
    ];
    const own = axes.cell(prompt.trim(), seed, along);
    const request = asked("generate", { ...fields, ...own.fields }, {}, own.settings);
    return { ...place, asked: request, job: "", state: "", picture: null, reason: "" };
  });
  const both = [
    { kind: x.kind, values: xs },
    { kind: y.kind, values: ys },
  ];
  return { title: prompt.trim(), axes: both, cells };
}

function labelsOf(of: Sweep): string[][] {
  return of.axes.map(({ kind, values }) => values.map((value) => labelOf(kind, value)));
}

function labelOf(kind: axes.AxisKind, value: axes.Value): string {
  if (kind === "none") return "";
  if (axes.isNumber(kind)) return `${axisName(kind)} ${value}`;
  return String(value) || t("field.none");
}

function Grid({ of }: { of: Sweep }) {
  const [xs = [], ys = []] = labelsOf(of);
  const left = pending(of);
  const all = of.cells.length;
  const lost = of.cells.filter((one) => one.state === "failed" || one.state === "cancelled").length;
  return (
    <section class="stack" aria-label={of.title} data-state={of.going ? "running" : "done"}>
      <div class="job-head">
        <p class="title grow" title={of.title}>
          {of.title}
        </p>
        <span class="soft small" aria-live="polite">
          {waits.value || t("sweep.progress", { done: all - left - lost, n: all })}
        </span>
        {of.going && (
          <Button
            icon="close"
            label={t("sweep.cancel")}
            onClick={() => void attempt(cancelSweep)}
          />
        )}
        {!of.going && lost > 0 && <Button icon="redo" label={t("sweep.resume")} onClick={resume} />}
        {!of.going && lost < all && (
          <Button
            icon="download"
            label={t("sweep.sheet")}
            onClick={() =>
              void attempt(async () => saveBlob(await sheetOf(of, [xs, ys]), "sweep.png"))
            }
          />
        )}
      </div>
      {of.going && <Bar share={1 - left / all} label={of.title} />}
      <div class="sweep-scroll">
        <table class="sweep">
          <caption class="hidden">{of.title}</caption>
          <thead>
            <tr>
              <td />
              {xs.map((text) => (
                <th key={text} scope="col">
                  {text}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {ys.map((text, y) => (
              <tr key={text}>
                <th scope="row">{text}</th>
                {xs.map((over, x) => (
                  <td key={over}>
                    <CellView
                      cell={of.cells.find((one) => one.x === x && one.y === y)}
                      label={[over, text].filter(Boolean).join(", ")}
                    />
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function CellView({ cell, label }: { cell: Cell | undefined; label: string }) {
  if (!cell) return null;
  if (cell.picture) {
    return (
      <a class="card" href={href("picture", cell.picture.id)}>
        <img src={fileOf(cell.picture)} alt={label} loading="lazy" />
      </a>
    );
  }
  if (cell.state === "failed" || cell.state === "cancelled") {
    return (
      <div class="card lost small soft" title={cell.reason}>
        {cell.state === "failed" ? t("job.failed", { reason: cell.reason }) : t("job.cancelled")}
      </div>
    );
  }
  const share = progress.value[cell.job]?.share ?? 0;
  if (!cell.job) return <div class="card" />;
  return <Waiting url={previews.value[cell.job]?.[0]} share={share} />;
}

export const sweepTool: Tool = {
  id: "sweep",
  title: "sweep.title",
  icon: "sweep",
  group: "explore",
  needs: "generate",
  View: Sweeps,
};
