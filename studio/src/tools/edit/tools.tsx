/** What to paint with, and what is done to the whole mask. */
import type { Signal } from "@preact/signals";
import { useId, useRef } from "preact/hooks";
import { load, pixelsIn, pngOf, sizeOf } from "../../canvas/bitmaps";
import type { Box, Size } from "../../canvas/geometry";
import { maskOf, maskOfPixels, pixelsOf, runsOf } from "../../canvas/mask";
import { t } from "../../i18n";
import { saveBlob } from "../../state/pictures";
import { attempt, say } from "../../state/toasts";
import { Button } from "../../ui/button";
import { Slider } from "../../ui/field";
import { add, back, forth, type Kind, type Paper } from "./paper";

interface Props {
  paper: Signal<Paper>;
  size: Size;
  kind: Kind;
  radius: number;
  largest: number;
  box: Signal<Box>;
  empty: boolean;
  onKind: (kind: Kind) => void;
  onRadius: (radius: number) => void;
}

const KINDS = [
  ["brush", "brush", "B"],
  ["eraser", "eraser", "X"],
  ["rectangle", "rectangle", "R"],
] as const;

export function Tools(props: Props) {
  const { paper, size, kind, radius, empty } = props;
  const { done, undone } = paper.value.strokes;
  return (
    <div class="stack tight">
      <div class="row tools" role="toolbar" aria-label={t("edit.tools")}>
        <span class="group">
          {KINDS.map(([one, icon, shortcut]) => (
            <Button
              key={one}
              bare
              icon={icon}
              pressed={kind === one}
              shortcut={shortcut}
              label={t(`edit.${one}`)}
              onClick={() => props.onKind(one)}
            />
          ))}
        </span>
        <span class="group">
          <Button
            bare
            icon="undo"
            shortcut="Control+Z"
            label={t("action.undo")}
            disabled={done.length === 0}
            onClick={() => back(paper)}
          />
          <Button
            bare
            icon="redo"
            shortcut="Control+Shift+Z"
            label={t("action.redo")}
            disabled={undone.length === 0}
            onClick={() => forth(paper)}
          />
        </span>
        <span class="group">
          <Button
            bare
            icon="invert"
            label={t("edit.invert")}
            onClick={() => add(paper, { kind: "invert" })}
          />
          <Button
            bare
            icon="trash"
            label={t("edit.clear")}
            disabled={empty}
            onClick={() => add(paper, { kind: "clear" })}
          />
        </span>
        <span class="group">
          <Upload paper={paper} size={size} />
          <Button
            bare
            icon="download"
            label={t("edit.mask.download")}
            disabled={empty}
            onClick={() => void attempt(() => downloadMask(paper.value, size))}
          />
        </span>
      </div>
      {kind === "rectangle" ? (
        <Rectangle {...props} />
      ) : (
        <Slider
          label={t("edit.size")}
          value={radius}
          minimum={1}
          maximum={props.largest}
          step={1}
          shown={t("edit.pixels", { n: 2 * radius })}
          onChange={props.onRadius}
        />
      )}
    </div>
  );
}

async function downloadMask(paper: Paper, size: Size): Promise<void> {
  const blob = await pngOf(pixelsOf(maskOf(paper.strokes.done, size)), size);
  saveBlob(blob, "mask.png");
}

function Upload({ paper, size }: { paper: Signal<Paper>; size: Size }) {
  const input = useRef<HTMLInputElement>(null);
  const id = useId();
  const take = async (file: File | undefined) => {
    if (!file) return;
    const url = URL.createObjectURL(file);
    const image = await load(url);
    URL.revokeObjectURL(url);
    if (!image) return say(t("edit.mask.wrong"));
    const own = sizeOf(image);
    if (Math.abs(own.width * size.height - own.height * size.width) > size.width + size.height)
      return say(t("edit.mask.shape", { ...own, across: size.width, down: size.height }));
    const runs = runsOf(maskOfPixels(pixelsIn(image), own));
    add(paper, { kind: "mask", runs, ...own });
  };
  return (
    <>
      <Button
        bare
        icon="upload"
        label={t("edit.mask.upload")}
        onClick={() => input.current?.click()}
      />
      <input
        ref={input}
        id={id}
        class="hidden"
        type="file"
        tabIndex={-1}
        aria-label={t("edit.mask.upload")}
        accept="image/png,image/jpeg,image/webp"
        onChange={(event) => {
          void take(event.currentTarget.files?.[0]);
          event.currentTarget.value = "";
        }}
      />
    </>
  );
}

const SIDES = [
  ["x", "width"],
  ["y", "height"],
  ["width", "width"],
  ["height", "height"],
] as const;

/** A rectangle by numbers; arrow keys on the picture move it too. */
function Rectangle({ box, size, paper }: Props) {
  const one = box.value;
  const put = (name: (typeof SIDES)[number][0], value: number) => {
    const next = { ...one, [name]: Math.max(0, Math.round(value) || 0) };
    box.value = {
      ...next,
      x: Math.min(next.x, size.width - 1),
      y: Math.min(next.y, size.height - 1),
      width: Math.max(1, Math.min(next.width, size.width - Math.min(next.x, size.width - 1))),
      height: Math.max(1, Math.min(next.height, size.height - Math.min(next.y, size.height - 1))),
    };
  };
  return (
    <fieldset class="numbers" aria-label={t("edit.rectangle")}>
      {SIDES.map(([name, side]) => (
        <label key={name}>
          <span>{t(`edit.rectangle.${name}`)}</span>
          <input
            type="number"
            min={0}
            max={size[side]}
            value={one[name]}
            onInput={(event) => put(name, Number(event.currentTarget.value))}
          />
        </label>
      ))}
      <Button
        label={t("edit.rectangle.paint")}
        onClick={() => add(paper, { kind: "box", box: one })}
      />
      <Button
        kind="plain"
        label={t("edit.rectangle.erase")}
        onClick={() => add(paper, { kind: "box", box: one, erases: true })}
      />
      <p class="hidden" role="status" aria-live="polite">
        {t("edit.rectangle.said", { ...one })}
      </p>
    </fieldset>
  );
}
