/** Pictures as canvases draw them, and canvases as files. */
import { signal } from "@preact/signals";
import { type SourceId, urlOf } from "../state/source";
import type { Size } from "./geometry";

export type Bitmap = HTMLImageElement | "missing";

/** Pictures that were asked for and have come, or are not there. */
const bitmaps = signal<Readonly<Record<SourceId, Bitmap>>>({});
const MOST = 200;
const AGAIN_MS = 1500;
const asked = new Set<SourceId>();

/** A picture, when it has come; whoever read this is told of it. */
export function bitmapOf(id: SourceId): Bitmap | undefined {
  if (!asked.has(id)) {
    asked.add(id);
    void twice(urlOf(id)).then((one) => {
      keep(id, one ?? "missing");
    });
  }
  return bitmaps.value[id];
}

/** Keep a picture, and forget those that came long before. */
function keep(id: SourceId, one: Bitmap): void {
  const all: [SourceId, Bitmap][] = [...Object.entries(bitmaps.peek()), [id, one]];
  for (const [old] of all.slice(0, -MOST)) asked.delete(old);
  bitmaps.value = Object.fromEntries(all.slice(-MOST));
}

/** Asked for again after a moment: the line may have been broken. */
async function twice(url: string): Promise<HTMLImageElement | null> {
  const first = await load(url);
  if (first) return first;
  await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  return load(url);
}

/** A picture, or null where there is none. */
export function load(url: string): Promise<HTMLImageElement | null> {
  return new Promise((resolve) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => resolve(null);
    image.src = url;
  });
}

export function sizeOf(image: HTMLImageElement): Size {
  return { width: image.naturalWidth, height: image.naturalHeight };
}

export function canvasOf({ width, height }: Size): CanvasRenderingContext2D {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("this browser has no canvas");
  return context;
}

export function imageOf(pixels: Uint8ClampedArray<ArrayBuffer>, { width, height }: Size) {
  return new ImageData(pixels, width, height);
}

/** A PNG file of pixels that are either opaque or wholly transparent: nothing else is lost. */
export function pngOf(pixels: Uint8ClampedArray<ArrayBuffer>, size: Size): Promise<Blob> {
  const context = canvasOf(size);
  context.putImageData(imageOf(pixels, size), 0, 0);
  return filed(context.canvas);
}

export function filed(canvas: HTMLCanvasElement): Promise<Blob> {
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => {
      if (blob) resolve(blob);
      else reject(new Error(`a picture of ${canvas.width}×${canvas.height} is too large here`));
    }, "image/png");
  });
}

/** The pixels of a file or a picture. */
export function pixelsIn(image: HTMLImageElement): Uint8ClampedArray<ArrayBuffer> {
  const context = canvasOf(sizeOf(image));
  context.drawImage(image, 0, 0);
  const { width, height } = context.canvas;
  return context.getImageData(0, 0, width, height).data as Uint8ClampedArray<ArrayBuffer>;
}
