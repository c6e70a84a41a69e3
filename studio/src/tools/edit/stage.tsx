/** The picture, the mask over it, and the pointer that paints. */
import type { Signal } from "@preact/signals";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { imageOf, sizeOf } from "../../canvas/bitmaps";
import type { Box, Point } from "../../canvas/geometry";
import {
  ARROWS,
  boxBetween,
  boxByKey,
  type Line,
  looksLike,
  type Mask,
  maskOf,
  stroke,
  thinned,
} from "../../canvas/mask";
import { t } from "../../i18n";
import { add, type Kind, type Paper } from "./paper";

/** The longer side of the mask that is shown; the one that is sent has the picture's own size. */
const SHOWN = 768;
const CELL = 8;
const LIGHT = [255, 255, 255, 205] as const;
const DARK = [205, 200, 192, 205] as const;
const EDGE = [185, 60, 10, 255] as const;

interface Props {
  image: HTMLImageElement;
  paper: Signal<Paper>;
  kind: Kind;
  radius: number;
  box: Signal<Box>;
  /** Another picture to show in place of the original and its mask. */
  instead: string | null;
  hideMask: boolean;
  label: string;
}

export function Stage(props: Props) {
  const { image, paper, kind, radius, box, instead } = props;
  const painting = instead === null && !props.hideMask;
  const size = sizeOf(image);
  const scale = SHOWN / Math.max(size.width, size.height);
  const surface = useRef<HTMLCanvasElement>(null);
  const mask = useRef<Mask | null>(null);
  const drawn = useRef<{ pointer: number; line: Line | null; start: Point } | null>(null);
  const [ring, setRing] = useState<Point | null>(null);
  const { done } = paper.value.strokes;

  useLayoutEffect(() => {
    mask.current = maskOf(done, size, scale);
    show(surface.current, mask.current);
  }, [done, image]);

  const at = (event: PointerEvent): Point => {
    const on = surface.current?.getBoundingClientRect();
    if (!on) return { x: 0, y: 0 };
    const place = (value: number, all: number, side: number) =>
      Math.round((10 * (value * side)) / all) / 10;
    return {
      x: place(event.clientX - on.left, on.width, size.width),
      y: place(event.clientY - on.top, on.height, size.height),
    };
  };

  const begin = (event: PointerEvent) => {
    const eraser = event.button === 5; // the other end of a pen
    if (drawn.current || (event.button !== 0 && !eraser)) return;
    surface.current?.setPointerCapture(event.pointerId);
    const start = at(event);
    const points = [start.x, start.y];
    const line: Line | null =
      kind === "rectangle" ? null : { kind: eraser ? "eraser" : kind, radius, points };
    drawn.current = { pointer: event.pointerId, line, start };
    if (line) paint(line);
    else box.value = { ...start, width: 0, height: 0 };
  };

  const paint = (line: Line) => {
    if (!mask.current) return;
    stroke(mask.current, line, scale);
    show(surface.current, mask.current);
  };

  const go = (event: PointerEvent) => {
    const on = surface.current?.getBoundingClientRect();
    if (on) setRing({ x: event.clientX - on.left, y: event.clientY - on.top });
    const own = drawn.current;
    if (!own || own.pointer !== event.pointerId) return;
    if (!own.line) {
      box.value = boxBetween(own.start, at(event), size);
      return;
    }
    const passed = event.getCoalescedEvents?.() ?? [];
    const more = (passed.length > 0 ? passed : [event]).map(at).flatMap(({ x, y }) => [x, y]);
    paint({ ...own.line, points: [...own.line.points.slice(-2), ...more] });
    own.line = { ...own.line, points: [...own.line.points, ...more] };
  };

  const end = (event: PointerEvent) => {
    const own = drawn.current;
    if (!own || own.pointer !== event.pointerId) return;
    drawn.current = null;
    if (own.line) add(paper, thinned(own.line));
    else if (box.value.width > 0 && box.value.height > 0)
      add(paper, { kind: "box", box: box.value });
  };

  const keys = (event: KeyboardEvent) => {
    if (kind !== "rectangle" || event.ctrlKey || event.metaKey) return;
    if (event.key in ARROWS) {
      event.preventDefault();
      const step = Math.max(1, Math.round(Math.max(size.width, size.height) / 64));
      box.value = boxByKey(box.value, event.key, event.altKey ? 1 : step, event.shiftKey, size);
    } else if (event.key === "Enter") {
      event.preventDefault();
      add(paper, { kind: "box", box: box.value });
    }
  };

  const view = surface.current?.getBoundingClientRect();
  const across = (2 * radius * (view?.width ?? 0)) / size.width;
  return (
    <div
      class="stage"
      data-kind={kind}
      style={{
        aspectRatio: `${size.width} / ${size.height}`,
        maxWidth: `calc(60dvh * ${size.width / size.height})`,
      }}
    >
      <img src={instead ?? image.src} alt={props.label} draggable={false} />
      {/* biome-ignore lint/a11y/noInteractiveElementToNoninteractiveRole: it takes arrow keys itself */}
      <canvas
        ref={surface}
        hidden={!painting}
        tabIndex={0}
        role="application"
        aria-label={t("edit.canvas")}
        aria-describedby="edit-help"
        onPointerDown={begin}
        onPointerMove={go}
        onPointerUp={end}
        onPointerCancel={end}
        onPointerLeave={() => setRing(null)}
        onContextMenu={(event) => drawn.current && event.preventDefault()}
        onKeyDown={keys}
      />
      {kind === "rectangle" && painting && <Marquee box={box.value} size={size} />}
      {ring && kind !== "rectangle" && painting && (
        <span
          class="ring"
          style={{
            width: `${across}px`,
            height: `${across}px`,
            left: `${ring.x}px`,
            top: `${ring.y}px`,
          }}
        />
      )}
    </div>
  );
}

function Marquee({ box, size }: { box: Box; size: { width: number; height: number } }) {
  const part = (value: number, all: number) => `${(100 * value) / all}%`;
  return (
    <span
      class="marquee"
      style={{
        left: part(box.x, size.width),
        top: part(box.y, size.height),
        width: part(box.width, size.width),
        height: part(box.height, size.height),
      }}
    />
  );
}

function show(canvas: HTMLCanvasElement | null, mask: Mask): void {
  const context = canvas?.getContext("2d");
  if (!canvas || !context) return;
  canvas.width = mask.width;
  canvas.height = mask.height;
  const cell = Math.max(1, Math.round((CELL * mask.width) / (canvas.clientWidth || SHOWN)));
  const look = { light: LIGHT, dark: DARK, edge: EDGE, cell };
  context.putImageData(imageOf(looksLike(mask, look), mask), 0, 0);
}
