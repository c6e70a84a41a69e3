/** Where a film is that plays over frames 0 to `count - 1`. */

/** The place after some time, between frames; there and back again, or on to the end. */
export function placeAt(seconds: number, count: number, speed: number, back: boolean): number {
  const last = count - 1;
  if (last <= 0) return 0;
  const gone = Math.max(0, seconds) * speed;
  if (!back) return Math.min(gone, last);
  const round = gone % (2 * last);
  return round <= last ? round : 2 * last - round;
}

/** How opaque a frame is over those below it. */
export function opacityAt(frame: number, place: number): number {
  if (frame <= place) return 1;
  return Math.max(0, 1 - (frame - place));
}

/** The frame next to a place, in a direction. */
export function nextFrame(place: number, by: 1 | -1, count: number): number {
  const near = by > 0 ? Math.floor(place + 1e-6) + 1 : Math.ceil(place - 1e-6) - 1;
  return Math.min(count - 1, Math.max(0, near));
}

/** Frames in the order in which a film shows them, which may go back to before the first. */
export function order(count: number, back: boolean): number[] {
  const there = Array.from({ length: count }, (_, i) => i);
  return back ? [...there, ...there.slice(1, -1).reverse()] : there;
}
