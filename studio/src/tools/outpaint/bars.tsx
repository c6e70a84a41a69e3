/** Buttons that lie over the canvas, and those under it. */
import type { Signal } from "@preact/signals";
import { useState } from "preact/hooks";
import type { Job } from "../../api/types";
import { bitmapOf, sizeOf } from "../../canvas/bitmaps";
import { wholeOf } from "../../canvas/compose";
import { beside, boundsOf, type Side, TIMES } from "../../canvas/frame";
import type { Box, Size } from "../../canvas/geometry";
import { redo, undo } from "../../canvas/history";
import { t } from "../../i18n";
import { cancel, isOver, progress } from "../../state/jobs";
import { saveBlob } from "../../state/pictures";
import { attempt, say } from "../../state/toasts";
import { Button } from "../../ui/button";
import { Dialog } from "../../ui/dialog";
import { Segments, Slider } from "../../ui/field";
import { Bar } from "../../ui/job";
import { Picker } from "../../ui/picker";
import { add, change, type Paper } from "./paper";

interface TopProps {
  paper: Signal<Paper>;
  frame: Box;
  /** How many entries cannot be undone: the picture that the canvas began with. */
  floor: number;
  erases: boolean;
  onErases: (erases: boolean) => void;
}

export function Top({ paper, frame, floor, erases, onErases }: TopProps) {
  const { entries, pending } = paper.value;
  const [adding, setAdding] = useState<string | null>(null);
  return (
    <div class="floating top" role="toolbar" aria-label={t("outpaint.tools")}>
      <Button
        bare
        icon="outpaint"
        pressed={!erases}
        label={t("outpaint.frame")}
        onClick={() => onErases(false)}
      />
      <Button
        bare
        icon="eraser"
        pressed={erases}
        label={t("outpaint.erase")}
        onClick={() => onErases(true)}
      />
      <Button
        bare
        icon="undo"
        shortcut="Control+Z"
        label={t("action.undo")}
        disabled={entries.done.length <= floor || pending !== null}
        onClick={() => change(paper, { entries: undo(entries) })}
      />
      <Button
        bare
        icon="redo"
        shortcut="Control+Shift+Z"
        label={t("action.redo")}
        disabled={entries.undone.length === 0 || pending !== null}
        onClick={() => change(paper, { entries: redo(entries) })}
      />
      <Button
        bare
        icon="plus"
        label={t("outpaint.add")}
        disabled={pending !== null}
        onClick={() => setAdding("")}
      />
      <Button
        bare
        icon="download"
        label={t("outpaint.download")}
        onClick={() => void attempt(() => download(paper.value))}
      />
      {adding !== null && (
        <Dialog title={t("outpaint.add")} onClose={() => setAdding(null)}>
          <Picker label={t("outpaint.picture")} value={adding} onChange={setAdding} />
          {adding && (
            <Put
              id={adding}
              onPut={(size) => {
                add(paper, { kind: "picture", id: adding, x: frame.x, y: frame.y, ...size });
                setAdding(null);
              }}
            />
          )}
        </Dialog>
      )}
    </div>
  );
}

function Put({ id, onPut }: { id: string; onPut: (size: Size) => void }) {
  const image = bitmapOf(id);
  return (
    <p class="row put">
      <Button
        kind="primary"
        label={t("outpaint.add")}
        disabled={!image || image === "missing"}
        onClick={() => image && image !== "missing" && onPut(sizeOf(image))}
      />
    </p>
  );
}

async function download({ entries }: Paper): Promise<void> {
  const file = await wholeOf(entries.done);
  if (!file) return say(t("outpaint.empty"));
  saveBlob(file, "canvas.png");
}

export function Zoom({ onZoom, onFit }: { onZoom: (by: number) => void; onFit: () => void }) {
  return (
    <div class="floating zoom">
      <Button
        bare
        kind="plain"
        icon="minus"
        label={t("outpaint.zoom.out")}
        onClick={() => onZoom(0.8)}
      />
      <Button
        bare
        kind="plain"
        icon="plus"
        label={t("outpaint.zoom.in")}
        onClick={() => onZoom(1.25)}
      />
      <Button bare kind="plain" icon="fit" label={t("outpaint.fit")} onClick={onFit} />
    </div>
  );
}

interface ChoicesProps {
  job: Job;
  index: number;
  count: number;
  onIndex: (index: number) => void;
  onAgain: () => void;
  onAccept: () => void;
  onDiscard: () => void;
}

/** How far the job is that fills the frame; then its pictures, one at a time. */
export function Choices(props: ChoicesProps) {
  const { job, index, count, onIndex } = props;
  if (!isOver(job)) {
    const done = progress.value[job.id]?.share ?? 0;
    const said = job.state === "queued" ? t("job.queued") : t("job.running");
    return (
      <div class="floating bottom" data-state={job.state}>
        <span class="text">
          {said} · {t("job.share", { percent: Math.round(100 * done) })}
        </span>
        <Bar share={done} label={t("job.running")} />
        <Button
          kind="plain"
          label={t("action.cancel")}
          onClick={() => void attempt(() => cancel(job.id))}
        />
      </div>
    );
  }
  return (
    <div class="floating bottom" data-state={job.state}>
      <Button
        bare
        kind="plain"
        icon="left"
        label={t("outpaint.previous")}
        onClick={() => onIndex(index - 1)}
      />
      <span class="text" role="status" aria-live="polite">
        {t("outpaint.choice", { i: index + 1, n: count })}
      </span>
      <Button
        bare
        kind="plain"
        icon="right"
        label={t("outpaint.next")}
        onClick={() => onIndex(index + 1)}
      />
      <Button kind="plain" label={t("outpaint.discard")} onClick={props.onDiscard} />
      <Button label={t("outpaint.again")} onClick={props.onAgain} />
      <Button kind="primary" icon="check" label={t("outpaint.accept")} onClick={props.onAccept} />
    </div>
  );
}

interface UnderProps {
  paper: Signal<Paper>;
  frame: Box;
  eraser: number | null;
  onEraser: (radius: number) => void;
  onFrame: (frame: Box) => void;
  onTimes: (times: number) => void;
  model: Size;
}

const SIDES = [
  ["left", "left"],
  ["top", "up"],
  ["bottom", "down"],
  ["right", "right"],
] as const;

/** The frame to an edge, its size; or the size of the eraser. */
export function Under(props: UnderProps) {
  const { paper, frame, eraser, model } = props;
  const bounds = boundsOf(paper.value.entries.done);
  const locked = paper.value.pending !== null;
  const to = (side: Side) => bounds && props.onFrame(beside(frame, bounds, side));
  return (
    <>
      <div class="sides">
        {SIDES.map(([side, icon]) => (
          <Button
            key={side}
            bare
            icon={icon}
            label={t(`outpaint.side.${side}`)}
            disabled={locked || !bounds}
            onClick={() => to(side)}
          />
        ))}
      </div>
      {eraser === null ? (
        <Segments
          label={t("outpaint.size")}
          value={String(paper.value.times)}
          options={TIMES.map((one) => [String(one), `${one * model.width}`] as const)}
          onChange={(one) => !locked && props.onTimes(Number(one))}
        />
      ) : (
        <Slider
          label={t("edit.size")}
          value={eraser}
          minimum={2}
          maximum={256}
          step={1}
          shown={t("edit.pixels", { n: 2 * eraser })}
          onChange={props.onEraser}
        />
      )}
    </>
  );
}
