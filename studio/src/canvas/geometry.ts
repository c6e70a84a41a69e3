/** Boxes in pixels of pictures, and how a view shows them on the screen. */

export interface Point {
  x: number;
  y: number;
}

export interface Size {
  width: number;
  height: number;
}

export interface Box extends Point, Size {}

/** What the screen's corner shows, and how many of the screen's pixels a picture's has. */
export interface View extends Point {
  scale: number;
}

export const SMALLEST_SCALE = 1 / 16;
export const LARGEST_SCALE = 16;

export function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), Math.max(low, high));
}

export function toPicture(view: View, on: Point): Point {
  return { x: view.x + on.x / view.scale, y: view.y + on.y / view.scale };
}

export function toScreen(view: View, at: Box): Box {
  const { scale } = view;
  return {
    x: (at.x - view.x) * scale,
    y: (at.y - view.y) * scale,
    width: at.width * scale,
    height: at.height * scale,
  };
}

export function contains(box: Box, { x, y }: Point): boolean {
  return x >= box.x && y >= box.y && x < box.x + box.width && y < box.y + box.height;
}

/** What two boxes share, or null. */
export function overlap(a: Box, b: Box): Box | null {
  const x = Math.max(a.x, b.x);
  const y = Math.max(a.y, b.y);
  const width = Math.min(a.x + a.width, b.x + b.width) - x;
  const height = Math.min(a.y + a.height, b.y + b.height) - y;
  return width > 0 && height > 0 ? { x, y, width, height } : null;
}

/** The smallest box around all, or null for none. */
export function around(boxes: readonly Box[]): Box | null {
  const [first, ...others] = boxes;
  if (!first) return null;
  return others.reduce((a, b) => {
    const x = Math.min(a.x, b.x);
    const y = Math.min(a.y, b.y);
    const width = Math.max(a.x + a.width, b.x + b.width) - x;
    const height = Math.max(a.y + a.height, b.y + b.height) - y;
    return { x, y, width, height };
  }, first);
}

/** The view that has a box in its middle, with a margin of a part of the screen. */
export function fitted(box: Box, screen: Size, margin = 0.14): View {
  const room = 1 - 2 * margin;
  const wanted = Math.min((room * screen.width) / box.width, (room * screen.height) / box.height);
  return centred(box, screen, clamp(wanted, SMALLEST_SCALE, LARGEST_SCALE / 4));
}

function centred(box: Box, screen: Size, scale: number): View {
  return {
    x: box.x + box.width / 2 - screen.width / scale / 2,
    y: box.y + box.height / 2 - screen.height / scale / 2,
    scale,
  };
}

/** Zoom by a factor; what is at a point of the screen stays there. */
export function zoomed(view: View, by: number, at: Point): View {
  const scale = clamp(view.scale * by, SMALLEST_SCALE, LARGEST_SCALE);
  const held = toPicture(view, at);
  return { x: held.x - at.x / scale, y: held.y - at.y / scale, scale };
}

/** Move what is shown by pixels of the screen. */
export function panned(view: View, by: Point): View {
  return { ...view, x: view.x - by.x / view.scale, y: view.y - by.y / view.scale };
}

/** Two fingers that were at `before` are at `after`: both hold what they held. */
export function pinched(view: View, before: readonly Point[], after: readonly Point[]): View {
  const [from, to] = [middle(before), middle(after)];
  const moved = panned(view, { x: to.x - from.x, y: to.y - from.y });
  const apart = spread(before);
  return apart > 0 ? zoomed(moved, spread(after) / apart, to) : moved;
}

function middle(points: readonly Point[]): Point {
  const n = Math.max(1, points.length);
  const sum = (of: (one: Point) => number) => points.reduce((all, one) => all + of(one), 0) / n;
  return { x: sum((one) => one.x), y: sum((one) => one.y) };
}

function spread([a, b]: readonly Point[]): number {
  return a && b ? Math.hypot(a.x - b.x, a.y - b.y) : 0;
}

/** The view moved, if it must be, so that a box is seen. */
export function showing(view: View, box: Box, screen: Size, margin = 24): View {
  const on = toScreen(view, box);
  const along = (low: number, size: number, room: number) => {
    if (size + 2 * margin > room) return (room - size) / 2 - low;
    return clamp(low, margin, room - margin - size) - low;
  };
  const by = {
    x: along(on.x, on.width, screen.width),
    y: along(on.y, on.height, screen.height),
  };
  return by.x === 0 && by.y === 0 ? view : panned(view, by);
}
