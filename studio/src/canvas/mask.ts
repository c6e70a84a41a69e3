/** Where to paint: strokes in pixels of a picture, and the masks that they give at any scale. */
import { type Box, clamp, type Point, type Size } from "./geometry";

export interface Line {
  kind: "brush" | "eraser";
  radius: number;
  /** x, y, x, y ... of a line's points. */
  points: readonly number[];
}

export type Stroke =
  | Line
  | { kind: "box"; box: Box; erases?: boolean }
  | { kind: "clear" }
  | { kind: "invert" }
  | ({ kind: "mask"; runs: string } & Size);

/** A byte a pixel: 1 where to paint. */
export interface Mask extends Size {
  data: Uint8Array<ArrayBuffer>;
}

export function emptyMask({ width, height }: Size): Mask {
  return { width, height, data: new Uint8Array(width * height) };
}

/** The mask of strokes: at a picture's own size, or `scale` times as large. */
export function maskOf(strokes: readonly Stroke[], picture: Size, scale = 1): Mask {
  const mask = emptyMask(scaled(picture, scale));
  const cleared = strokes.findLastIndex((one) => one.kind === "clear");
  for (const one of strokes.slice(cleared + 1)) stroke(mask, one, scale);
  return mask;
}

export function scaled({ width, height }: Size, scale: number): Size {
  const along = (side: number) => Math.max(1, Math.round(side * scale));
  return { width: along(width), height: along(height) };
}

/** A line without points that are so near to the one before that nobody sees them. */
export function thinned(line: Line): Line {
  const { points, radius } = line;
  const least = Math.max(0.5, radius / 10);
  const kept = points.slice(0, 2);
  for (let i = 2; i + 1 < points.length; i += 2) {
    const [x = 0, y = 0] = [points[i], points[i + 1]];
    const [before = 0, above = 0] = kept.slice(-2);
    const isLast = i + 2 >= points.length;
    if (isLast || Math.hypot(x - before, y - above) >= least) kept.push(x, y);
  }
  return { ...line, points: kept };
}

/** Do a stroke to a mask, in place. */
export function stroke(mask: Mask, one: Stroke, scale = 1): void {
  if (one.kind === "clear") mask.data.fill(0);
  else if (one.kind === "invert") invert(mask);
  else if (one.kind === "box") fillBox(mask, one.box, one.erases ? 0 : 1, scale);
  else if (one.kind === "mask") copy(mask, maskOfRuns(one));
  else line(mask, one, scale);
}

function invert({ data }: Mask): void {
  for (let i = 0; i < data.length; i += 1) data[i] = data[i] ? 0 : 1;
}

/** A mask of another size, where it is set: the nearest pixel counts. */
function copy(mask: Mask, from: Mask): void {
  const { width, height, data } = mask;
  for (let y = 0; y < height; y += 1) {
    const row = Math.floor(((y + 0.5) * from.height) / height) * from.width;
    for (let x = 0; x < width; x += 1) {
      if (from.data[row + Math.floor(((x + 0.5) * from.width) / width)]) data[y * width + x] = 1;
    }
  }
}

/** Pixels whose middle lies within. */
export function fillBox(mask: Mask, box: Box, value: 0 | 1, scale = 1): void {
  const top = firstIn(box.y * scale);
  const bottom = firstIn((box.y + box.height) * scale);
  for (let y = Math.max(0, top); y < Math.min(mask.height, bottom); y += 1) {
    fillRow(mask, y, firstIn(box.x * scale), firstIn((box.x + box.width) * scale), value);
  }
}

/** The first pixel whose middle is at or after a place. */
function firstIn(place: number): number {
  return Math.ceil(place - 0.5);
}

function fillRow(mask: Mask, y: number, from: number, to: number, value: 0 | 1): void {
  const start = clamp(from, 0, mask.width);
  const end = clamp(to, 0, mask.width);
  if (end > start) mask.data.fill(value, y * mask.width + start, y * mask.width + end);
}

/** Pixels whose middle is at most `radius` from the line through the points. */
function line(mask: Mask, { kind, radius, points }: Line, scale: number): void {
  const value = kind === "brush" ? 1 : 0;
  const at = (i: number): Point => ({
    x: (points[i] ?? 0) * scale,
    y: (points[i + 1] ?? 0) * scale,
  });
  if (points.length === 2) segment(mask, at(0), at(0), radius * scale, value);
  for (let i = 0; i + 3 < points.length; i += 2) {
    segment(mask, at(i), at(i + 2), radius * scale, value);
  }
}

function segment(mask: Mask, a: Point, b: Point, radius: number, value: 0 | 1): void {
  const top = Math.max(0, firstIn(Math.min(a.y, b.y) - radius));
  const bottom = Math.min(mask.height - 1, Math.floor(Math.max(a.y, b.y) + radius - 0.5));
  for (let y = top; y <= bottom; y += 1) {
    const [low, high] = acrossRow(a, b, radius, y + 0.5);
    if (low <= high) fillRow(mask, y, firstIn(low), Math.floor(high - 0.5) + 1, value);
  }
}

type Span = readonly [number, number];
const NONE: Span = [Infinity, -Infinity];

/** From where to where a thick line with round ends lies along a row. */
function acrossRow(a: Point, b: Point, radius: number, y: number): Span {
  const parts = [disc(a, radius, y), disc(b, radius, y), body(a, b, radius, y)];
  return [Math.min(...parts.map(([low]) => low)), Math.max(...parts.map(([, high]) => high))];
}

function disc({ x, y: middle }: Point, radius: number, y: number): Span {
  const square = radius * radius - (y - middle) ** 2;
  return square < 0 ? NONE : [x - Math.sqrt(square), x + Math.sqrt(square)];
}

/** Of the rectangle between the ends: beside the line by at most `radius`, and along it. */
function body(a: Point, b: Point, radius: number, y: number): Span {
  const [dx, dy, down] = [b.x - a.x, b.y - a.y, y - a.y];
  const length = Math.hypot(dx, dy);
  if (length === 0) return NONE;
  const beside = between(dy, down * dx - radius * length, down * dx + radius * length);
  const along = between(dx, -down * dy, length * length - down * dy);
  const [low, high] = [Math.max(beside[0], along[0]), Math.min(beside[1], along[1])];
  return low <= high ? [a.x + low, a.x + high] : NONE;
}

/** Where `factor * x` is from `low` to `high`. */
function between(factor: number, low: number, high: number): Span {
  if (factor === 0) return low <= 0 && high >= 0 ? [-Infinity, Infinity] : NONE;
  return factor > 0 ? [low / factor, high / factor] : [high / factor, low / factor];
}

/** How much of it is set, 0 to 1. */
export function share({ data }: Mask): number {
  let count = 0;
  for (const one of data) count += one;
  return count / Math.max(1, data.length);
}

/** Pixels of the PNG that the server takes: transparent where to paint, black elsewhere. */
export function pixelsOf({ data }: Mask): Uint8ClampedArray<ArrayBuffer> {
  const pixels = new Uint8ClampedArray(4 * data.length);
  for (let i = 0; i < data.length; i += 1) pixels[4 * i + 3] = data[i] ? 0 : 255;
  return pixels;
}

/** The mask of a picture's pixels, by the server's rule: where it is transparent; a picture
    without transparency, where it is white. */
export function maskOfPixels(pixels: Uint8ClampedArray, size: Size): Mask {
  const mask = emptyMask(size);
  const at = (i: number) => pixels[i] ?? 0;
  const white = (i: number) => 0.299 * at(i) + 0.587 * at(i + 1) + 0.114 * at(i + 2) >= 127.5;
  const opaque = pixels.every((value, i) => i % 4 !== 3 || value === 255);
  for (let i = 0; i < mask.data.length; i += 1) {
    mask.data[i] = (opaque ? white(4 * i) : at(4 * i + 3) < 128) ? 1 : 0;
  }
  return mask;
}

/** The lengths of runs of 0, 1, 0 ... in base 36: what is kept of a mask from a file. */
export function runsOf({ data }: Mask): string {
  const lengths: string[] = [];
  let [value, start] = [0, 0];
  for (let i = 0; i <= data.length; i += 1) {
    if (i < data.length && data[i] === value) continue;
    lengths.push((i - start).toString(36));
    [value, start] = [1 - value, i];
  }
  return lengths.join(" ");
}

export function maskOfRuns({ width, height, runs }: { runs: string } & Size): Mask {
  const mask = emptyMask({ width, height });
  let [value, at] = [0, 0];
  for (const length of runs.split(" ")) {
    const end = at + Number.parseInt(length, 36);
    if (value === 1) mask.data.fill(1, at, end);
    [value, at] = [1 - value, end];
  }
  return mask;
}

export type Colour = readonly [number, number, number, number];

/** Colours of a mask that is shown over its picture: a checker with an edge. */
export interface Look {
  light: Colour;
  dark: Colour;
  edge: Colour;
  /** Of a checker's field, in pixels of the mask. */
  cell: number;
}

export function looksLike(mask: Mask, look: Look): Uint8ClampedArray<ArrayBuffer> {
  const { width, height, data } = mask;
  const pixels = new Uint8ClampedArray(4 * width * height);
  for (let y = 0, i = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, i += 1) {
      if (!data[i]) continue;
      const even = (Math.floor(x / look.cell) + Math.floor(y / look.cell)) % 2 === 0;
      pixels.set(isEdge(mask, x, y) ? look.edge : even ? look.light : look.dark, 4 * i);
    }
  }
  return pixels;
}

/** Whether a set pixel has a neighbour, two away, that is not; beyond the picture nothing counts. */
function isEdge({ width, height, data }: Mask, x: number, y: number): boolean {
  const i = y * width + x;
  return (
    (x > 1 && !data[i - 2]) ||
    (x < width - 2 && !data[i + 2]) ||
    (y > 1 && !data[i - 2 * width]) ||
    (y < height - 2 && !data[i + 2 * width])
  );
}

/** A box that arrow keys move, or with `sizes` make larger and smaller, within a picture. */
export function boxByKey(box: Box, key: string, step: number, sizes: boolean, within: Size): Box {
  const [dx, dy] = ARROWS[key] ?? [0, 0];
  return sizes
    ? {
        ...box,
        width: clamp(box.width + dx * step, 1, within.width - box.x),
        height: clamp(box.height + dy * step, 1, within.height - box.y),
      }
    : {
        ...box,
        x: clamp(box.x + dx * step, 0, within.width - box.width),
        y: clamp(box.y + dy * step, 0, within.height - box.height),
      };
}

export const ARROWS: Readonly<Record<string, readonly [number, number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/** The box between two points, in whole pixels, as far as it lies within. */
export function boxBetween(a: Point, b: Point, within: Size): Box {
  const x = clamp(Math.floor(Math.min(a.x, b.x)), 0, within.width);
  const y = clamp(Math.floor(Math.min(a.y, b.y)), 0, within.height);
  const right = clamp(Math.ceil(Math.max(a.x, b.x)), x, within.width);
  const bottom = clamp(Math.ceil(Math.max(a.y, b.y)), y, within.height);
  return { x, y, width: right - x, height: bottom - y };
}
