/** The canvas on the screen: pieces, the frame, and the pointers that move, pan, zoom and erase. */
import type { Signal } from "@preact/signals";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { bitmapOf } from "../../canvas/bitmaps";
import { drawEntries } from "../../canvas/compose";
import { type Entry, piecesOf, snapped } from "../../canvas/frame";
import {
  type Box,
  contains,
  type Point,
  panned,
  pinched,
  type Size,
  showing,
  toPicture,
  toScreen,
  type View,
  zoomed,
} from "../../canvas/geometry";
import { ARROWS } from "../../canvas/mask";
import { t } from "../../i18n";

/** How near, in pixels of the screen, the frame jumps to a place. */
const REACH = 9;
const CELL = 10;

interface Props {
  entries: readonly Entry[];
  frame: Box;
  /** What is shown in the frame: a choice, or a preview. */
  inside: HTMLImageElement | null;
  locked: boolean;
  /** The radius of the eraser, or null: the frame is moved. */
  eraser: number | null;
  view: Signal<View | null>;
  screen: Signal<Size>;
  onFrame: (frame: Box) => void;
  onErase: (points: readonly number[]) => void;
  onFit: () => void;
  /** Keys while the frame is locked: to the previous or next choice, accept, discard. */
  onChoose: (key: "previous" | "next" | "accept" | "discard") => void;
}

type Gesture = "frame" | "pan" | "erase" | "pinch";

export function Board(props: Props) {
  const { entries, frame, view, screen, eraser, locked } = props;
  const surface = useRef<HTMLCanvasElement>(null);
  const pointers = useRef(new Map<number, Point>());
  const gesture = useRef<{ kind: Gesture; from: Box; at: Point; points: number[] } | null>(null);
  const [hover, setHover] = useState<Point | null>(null);
  const [moves, setMoves] = useState("");
  for (const one of piecesOf(entries)) bitmapOf(one.id); // this is drawn again when one comes

  const draw = () => {
    const points = gesture.current?.kind === "erase" ? gesture.current.points : [];
    const also: Entry[] =
      eraser && points.length > 0 ? [{ kind: "eraser", radius: eraser, points }] : [];
    if (surface.current && view.value) {
      paint(surface.current, screen.value, view.value, {
        ...props,
        entries: [...entries, ...also],
      });
    }
  };
  useLayoutEffect(draw);
  useLayoutEffect(() => {
    const canvas = surface.current;
    if (!canvas) return;
    const watcher = new ResizeObserver(() => {
      screen.value = { width: canvas.clientWidth, height: canvas.clientHeight };
    });
    watcher.observe(canvas);
    return () => watcher.disconnect();
  }, [screen]);
  useLayoutEffect(() => {
    const canvas = surface.current;
    const wheel = (event: WheelEvent) => {
      if (!view.value) return;
      event.preventDefault(); // the page would scroll
      view.value =
        event.ctrlKey || event.metaKey
          ? zoomed(view.value, Math.exp(-event.deltaY / 200), placeOf(event, canvas))
          : panned(view.value, { x: -event.deltaX, y: -event.deltaY });
    };
    canvas?.addEventListener("wheel", wheel, { passive: false });
    return () => canvas?.removeEventListener("wheel", wheel);
  }, [view]);

  const kindAt = (at: Point): Gesture => {
    if (eraser && !locked) return "erase";
    const over = view.value && contains(frame, toPicture(view.value, at));
    return over && !locked ? "frame" : "pan";
  };

  const down = (event: PointerEvent) => {
    if (!view.value || event.button > 1) return;
    const at = placeOf(event, surface.current);
    surface.current?.setPointerCapture(event.pointerId);
    pointers.current.set(event.pointerId, at);
    const kind = pointers.current.size > 1 ? "pinch" : event.button === 1 ? "pan" : kindAt(at);
    const { x, y } = toPicture(view.value, at);
    gesture.current = { kind, from: frame, at, points: kind === "erase" ? [x, y] : [] };
    setMoves(kind === "pan" ? "held" : kind);
    draw();
  };

  const move = (event: PointerEvent) => {
    const at = placeOf(event, surface.current);
    setHover(event.pointerType === "touch" && !gesture.current ? null : at);
    const own = gesture.current;
    const before = pointers.current.get(event.pointerId);
    if (!own || !before || !view.value) {
      setMoves(kindAt(at));
      return;
    }
    if (own.kind === "pinch") {
      const ids = [...pointers.current.keys()].slice(0, 2);
      const old = ids.map((id) => pointers.current.get(id) ?? at);
      const now = ids.map((id, i) => (id === event.pointerId ? at : (old[i] ?? at)));
      view.value = pinched(view.value, old, now);
    } else if (own.kind === "pan") {
      view.value = panned(view.value, { x: at.x - before.x, y: at.y - before.y });
    } else if (own.kind === "frame") {
      const { scale } = view.value;
      const x = own.from.x + (at.x - own.at.x) / scale;
      const y = own.from.y + (at.y - own.at.y) / scale;
      const reach = event.altKey ? 0 : REACH / scale;
      props.onFrame(snapped({ ...frame, x, y }, piecesOf(entries), reach));
    } else {
      const { x, y } = toPicture(view.value, at);
      own.points.push(Math.round(10 * x) / 10, Math.round(10 * y) / 10);
      draw();
    }
    pointers.current.set(event.pointerId, at);
  };

  const up = (event: PointerEvent) => {
    pointers.current.delete(event.pointerId);
    const own = gesture.current;
    if (own?.kind === "erase" && own.points.length > 0) props.onErase(own.points);
    if (pointers.current.size === 0 || own?.kind !== "pinch") gesture.current = null;
    setMoves(kindAt(placeOf(event, surface.current)));
  };

  const keys = (event: KeyboardEvent) => {
    if (!view.value || event.altKey || event.metaKey) return;
    const { key } = event;
    const [dx, dy] = ARROWS[key] ?? [0, 0];
    const arrow = key in ARROWS;
    const middle = { x: screen.value.width / 2, y: screen.value.height / 2 };
    if (arrow && event.ctrlKey) view.value = panned(view.value, { x: -60 * dx, y: -60 * dy });
    else if (event.ctrlKey) return;
    else if (arrow && !locked) {
      const step = (side: number) => Math.max(1, Math.round(side / (event.shiftKey ? 4 : 32)));
      const moved = {
        ...frame,
        x: frame.x + dx * step(frame.width),
        y: frame.y + dy * step(frame.height),
      };
      props.onFrame(moved);
      view.value = showing(view.value, moved, screen.value);
    } else if (locked && (key === "ArrowLeft" || key === "ArrowRight")) {
      props.onChoose(key === "ArrowLeft" ? "previous" : "next");
    } else if (locked && key === "Enter") props.onChoose("accept");
    else if (locked && key === "Escape") props.onChoose("discard");
    else if (key === "+" || key === "=") view.value = zoomed(view.value, 1.25, middle);
    else if (key === "-") view.value = zoomed(view.value, 0.8, middle);
    else if (key === "0") props.onFit();
    else return;
    event.preventDefault();
  };

  const across = 2 * (eraser ?? 0) * (view.value?.scale ?? 1);
  return (
    <>
      {/* biome-ignore lint/a11y/noInteractiveElementToNoninteractiveRole: it takes arrow keys itself */}
      <canvas
        ref={surface}
        data-moves={moves}
        tabIndex={0}
        role="application"
        aria-label={t("outpaint.canvas")}
        onPointerDown={down}
        onPointerMove={move}
        onPointerUp={up}
        onPointerCancel={up}
        onPointerLeave={() => setHover(null)}
        onKeyDown={keys}
      />
      {eraser && hover && !locked && (
        <span
          class="ring"
          style={{
            width: `${across}px`,
            height: `${across}px`,
            left: `${hover.x}px`,
            top: `${hover.y}px`,
          }}
        />
      )}
    </>
  );
}

function placeOf(event: MouseEvent, canvas: HTMLCanvasElement | null): Point {
  const on = canvas?.getBoundingClientRect();
  return { x: event.clientX - (on?.left ?? 0), y: event.clientY - (on?.top ?? 0) };
}

/** Draw all: pieces, the checker of what is not known, what is shown in the frame, and its edge. */
function paint(
  canvas: HTMLCanvasElement,
  screen: Size,
  view: View,
  { entries, frame, inside, locked }: Pick<Props, "entries" | "frame" | "inside" | "locked">,
): void {
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(screen.width * ratio);
  canvas.height = Math.round(screen.height * ratio);
  const context = canvas.getContext("2d");
  if (!context) return;
  const colour = (name: string) => getComputedStyle(canvas).getPropertyValue(name);
  context.scale(ratio, ratio);
  context.imageSmoothingQuality = "high";
  drawEntries(context, entries, view);
  const on = toScreen(view, frame);
  if (inside) context.drawImage(inside, on.x, on.y, on.width, on.height);
  context.globalCompositeOperation = "destination-over";
  checker(context, on, colour("--check-a"), colour("--check-b"));
  context.globalCompositeOperation = "source-over";
  context.strokeStyle = colour("--ground");
  context.lineWidth = 5;
  context.strokeRect(on.x, on.y, on.width, on.height);
  context.strokeStyle = colour("--accent");
  context.lineWidth = 2.5;
  context.setLineDash(locked ? [] : [9, 5]);
  context.strokeRect(on.x, on.y, on.width, on.height);
}

function checker(context: CanvasRenderingContext2D, on: Box, a: string, b: string): void {
  const tile = document.createElement("canvas");
  tile.width = 2 * CELL;
  tile.height = 2 * CELL;
  const small = tile.getContext("2d");
  if (!small) return;
  small.fillStyle = a;
  small.fillRect(0, 0, 2 * CELL, 2 * CELL);
  small.fillStyle = b;
  small.fillRect(0, 0, CELL, CELL);
  small.fillRect(CELL, CELL, CELL, CELL);
  const pattern = context.createPattern(tile, "repeat");
  if (!pattern) return;
  context.save();
  context.translate(on.x, on.y);
  context.fillStyle = pattern;
  context.fillRect(0, 0, on.width, on.height);
  context.restore();
}
