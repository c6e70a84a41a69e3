/** An endless canvas: pictures in places, and a frame in which more is painted. */
import { around, type Box, clamp, type Point, type Size } from "./geometry";
import { emptyMask, fillBox, type Mask, scaled, share, stroke } from "./mask";

export interface Piece extends Box {
  kind: "picture";
  id: string;
}

export interface Erased {
  kind: "eraser";
  radius: number;
  points: readonly number[];
}

/** What was done to a canvas, in order: later pieces lie over earlier ones. */
export type Entry = Piece | Erased;

export function piecesOf(entries: readonly Entry[]): Piece[] {
  return entries.filter((one) => one.kind === "picture");
}

/** The box around all pieces, or null. */
export function boundsOf(entries: readonly Entry[]): Box | null {
  return around(piecesOf(entries));
}

/** Where something is known in a frame: 1 in a piece, 0 where there is none or it was erased. */
export function knownIn(frame: Box, entries: readonly Entry[], scale = 1): Mask {
  const mask = emptyMask(scaled(frame, scale));
  for (const one of entries) {
    if (one.kind === "picture") {
      fillBox(mask, { ...one, x: one.x - frame.x, y: one.y - frame.y }, 1, scale);
    } else {
      stroke(mask, { ...one, points: shifted(one.points, frame) }, scale);
    }
  }
  return mask;
}

/** A line's points as seen from a corner. */
export function shifted(points: readonly number[], { x, y }: Point): number[] {
  return points.map((one, i) => one - (i % 2 === 0 ? x : y));
}

/** How much of a frame is known, 0 to 1, well enough to be told. */
export function knownShare(frame: Box, entries: readonly Entry[]): number {
  return share(knownIn(frame, entries, 64 / Math.max(frame.width, frame.height)));
}

/** Of a frame's pixels, drawn from all pieces: those that are not known become transparent, and
    those that are opaque. Returns how many are to be painted. */
export function cutOut(pixels: Uint8ClampedArray, known: Mask): number {
  let open = 0;
  for (let i = 0; i < known.data.length; i += 1) {
    if (known.data[i] && (pixels[4 * i + 3] ?? 0) === 255) continue;
    pixels.fill(0, 4 * i, 4 * i + 4);
    open += 1;
  }
  return open;
}

/** The frame at the nearest sensible place: edges that meet, or an overlap of half a frame. */
export function snapped(frame: Box, pieces: readonly Box[], reach: number): Box {
  const near = pieces.filter((one) => isNear(one, frame));
  const xs = near.flatMap((one) => places(one.x, one.width, frame.width));
  const ys = near.flatMap((one) => places(one.y, one.height, frame.height));
  return { ...frame, x: nearest(frame.x, xs, reach), y: nearest(frame.y, ys, reach) };
}

function places(start: number, length: number, frame: number): number[] {
  const end = start + length;
  return [start, end - frame, start - frame / 2, end - frame / 2];
}

function isNear(piece: Box, { x, y, width, height }: Box): boolean {
  return (
    piece.x < x + 2 * width &&
    piece.x + piece.width > x - width &&
    piece.y < y + 2 * height &&
    piece.y + piece.height > y - height
  );
}

function nearest(value: number, places: readonly number[], reach: number): number {
  let best = Math.round(value);
  let off = reach;
  for (const one of places) {
    if (Math.abs(one - value) > off) continue;
    [best, off] = [Math.round(one), Math.abs(one - value)];
  }
  return best;
}

export type Side = "left" | "right" | "top" | "bottom";

/** The frame half over an edge of what is there; along the edge it stays where it is. */
export function beside(frame: Box, bounds: Box, side: Side): Box {
  const along = (at: number, size: number, low: number, length: number) =>
    Math.round(clamp(at, Math.min(low, low + length - size), Math.max(low, low + length - size)));
  const x = along(frame.x, frame.width, bounds.x, bounds.width);
  const y = along(frame.y, frame.height, bounds.y, bounds.height);
  const [half, tall] = [Math.round(frame.width / 2), Math.round(frame.height / 2)];
  switch (side) {
    case "left":
      return { ...frame, x: bounds.x - half, y };
    case "right":
      return { ...frame, x: bounds.x + bounds.width - half, y };
    case "top":
      return { ...frame, x, y: bounds.y - tall };
    case "bottom":
      return { ...frame, x, y: bounds.y + bounds.height - tall };
  }
}

export const TIMES = [1, 2, 4] as const;

/** How many times the model's size a frame is to be, for a picture: as small as shows half of it. */
export function timesFor(picture: Size, model: Size): number {
  const across = Math.max(picture.width / model.width, picture.height / model.height);
  return TIMES.find((one) => one >= across / 1.5) ?? 4;
}

/** The frame at another size, around the same middle. */
export function resized(frame: Box, size: Size): Box {
  return {
    x: Math.round(frame.x + (frame.width - size.width) / 2),
    y: Math.round(frame.y + (frame.height - size.height) / 2),
    ...size,
  };
}
