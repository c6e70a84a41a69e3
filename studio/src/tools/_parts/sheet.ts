/** A sweep as one picture with its labels, drawn on a canvas. */
import { fileOf } from "../../state/pictures";
import type { Sweep } from "../../state/sweep";

const SIDE = 256;
const GAP = 8;
const LINE = 20;
const FONT = "14px system-ui, sans-serif";

/** Where a sheet has what: sizes in pixels. */
export interface Layout {
  width: number;
  height: number;
  left: number;
  top: number;
  side: number;
}

export function layoutOf(columns: number, rows: number, hasRows: boolean, side = SIDE): Layout {
  const left = hasRows ? 150 : GAP;
  const top = 3 * LINE + GAP;
  return {
    left,
    top,
    side,
    width: left + columns * (side + GAP),
    height: top + rows * (side + GAP),
  };
}

/** Top left corner of a cell. */
export function corner(layout: Layout, x: number, y: number): [number, number] {
  const step = layout.side + GAP;
  return [layout.left + x * step, layout.top + y * step];
}

async function load(url: string): Promise<HTMLImageElement> {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

export async function sheetOf(of: Sweep, labels: readonly string[][]): Promise<Blob> {
  const [xs = [], ys = []] = labels;
  const shown = ys.some(Boolean);
  const most = Math.max(xs.length, ys.length);
  const layout = layoutOf(xs.length, ys.length, shown, most > 16 ? SIDE / 2 : SIDE);
  const canvas = document.createElement("canvas");
  canvas.width = layout.width;
  canvas.height = layout.height;
  const pen = canvas.getContext("2d");
  if (!pen) throw new Error("this browser has no canvas");
  pen.fillStyle = "#ffffff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = "#201d19";
  pen.font = `600 ${FONT}`;
  pen.fillText(of.title, GAP, LINE, layout.width - 2 * GAP);
  pen.font = FONT;
  pen.textAlign = "center";
  xs.forEach((text, x) => {
    const [left, top] = corner(layout, x, 0);
    pen.fillText(text, left + layout.side / 2, top - GAP, layout.side);
  });
  pen.textAlign = "right";
  ys.forEach((text, y) => {
    const [left, top] = corner(layout, 0, y);
    pen.fillText(text, left - GAP, top + layout.side / 2, layout.left - 2 * GAP);
  });
  for (const { x, y, picture } of of.cells) {
    const [left, top] = corner(layout, x, y);
    pen.fillStyle = "#efece5";
    pen.fillRect(left, top, layout.side, layout.side);
    if (!picture) continue;
    const image = await load(fileOf(picture));
    const scale = layout.side / Math.max(image.width, image.height);
    const [wide, high] = [image.width * scale, image.height * scale];
    const middle: [number, number] = [
      left + (layout.side - wide) / 2,
      top + (layout.side - high) / 2,
    ];
    pen.drawImage(image, ...middle, wide, high);
  }
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("too large"))), "image/png"),
  );
}
