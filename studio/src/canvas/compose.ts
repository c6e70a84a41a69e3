/** Draw a canvas' pieces: on the screen, into a frame's picture, or as a whole. */
import { bitmapOf, canvasOf, filed, pngOf } from "./bitmaps";
import { boundsOf, cutOut, type Entry, knownIn } from "./frame";
import { type Box, toScreen, type View } from "./geometry";

export function drawEntries(
  context: CanvasRenderingContext2D,
  entries: readonly Entry[],
  view: View,
): void {
  for (const one of entries) {
    if (one.kind === "picture") {
      const image = bitmapOf(one.id);
      if (!image || image === "missing") continue;
      const { x, y, width, height } = toScreen(view, one);
      context.drawImage(image, x, y, width, height);
    } else drawLine(context, one, view);
  }
}

function drawLine(
  context: CanvasRenderingContext2D,
  { radius, points }: { radius: number; points: readonly number[] },
  { x, y, scale }: View,
): void {
  context.save();
  context.globalCompositeOperation = "destination-out";
  context.lineWidth = 2 * radius * scale;
  context.lineCap = "round";
  context.lineJoin = "round";
  context.beginPath();
  for (let i = 0; i + 1 < points.length; i += 2) {
    context.lineTo(((points[i] ?? 0) - x) * scale, ((points[i + 1] ?? 0) - y) * scale);
  }
  if (points.length === 2)
    context.lineTo(((points[0] ?? 0) - x) * scale, ((points[1] ?? 0) - y) * scale);
  context.stroke();
  context.restore();
}

/** What a frame shows as a PNG that is transparent where to paint, and how many pixels that are. */
export async function composed(
  frame: Box,
  entries: readonly Entry[],
): Promise<{ file: Blob; open: number }> {
  const context = canvasOf(frame);
  context.imageSmoothingEnabled = false;
  const pieces = entries.filter((one) => one.kind === "picture");
  drawEntries(context, pieces, { x: frame.x, y: frame.y, scale: 1 });
  const { data } = context.getImageData(0, 0, frame.width, frame.height);
  const pixels = data as Uint8ClampedArray<ArrayBuffer>;
  const open = cutOut(pixels, knownIn(frame, entries));
  return { file: await pngOf(pixels, frame), open };
}

/** The whole canvas as a PNG, or null where it is empty. */
export async function wholeOf(entries: readonly Entry[]): Promise<Blob | null> {
  const bounds = boundsOf(entries);
  if (!bounds) return null;
  const context = canvasOf(bounds);
  context.imageSmoothingEnabled = false;
  drawEntries(context, entries, { x: bounds.x, y: bounds.y, scale: 1 });
  return filed(context.canvas);
}
