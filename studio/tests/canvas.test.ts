import { describe, expect, it } from "vitest";
import {
  around,
  contains,
  fitted,
  overlap,
  panned,
  pinched,
  showing,
  toPicture,
  toScreen,
  zoomed,
} from "../src/canvas/geometry";
import { did, type History, NOTHING, redo, undo } from "../src/canvas/history";
import {
  boxBetween,
  boxByKey,
  emptyMask,
  type Line,
  looksLike,
  type Mask,
  maskOf,
  maskOfPixels,
  maskOfRuns,
  pixelsOf,
  runsOf,
  type Stroke,
  share,
  thinned,
} from "../src/canvas/mask";

const SIZE = { width: 64, height: 48 };
const brush = (radius: number, ...points: number[]): Line => ({ kind: "brush", radius, points });

/** Brute force: whether a place is at most `radius` from a line. */
function isOn({ radius, points }: Line, x: number, y: number): boolean {
  for (let i = 0; i < points.length; i += 2) {
    const [ax, ay] = [points[i] ?? 0, points[i + 1] ?? 0];
    const [bx, by] = [points[i + 2] ?? ax, points[i + 3] ?? ay];
    const [dx, dy] = [bx - ax, by - ay];
    const t = Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1)));
    if (Math.hypot(x - ax - t * dx, y - ay - t * dy) <= radius) return true;
  }
  return false;
}

function oracle(line: Line, scale: number): number[] {
  const [width, height] = [SIZE.width * scale, SIZE.height * scale];
  return Array.from({ length: width * height }, (_, i) =>
    isOn(line, ((i % width) + 0.5) / scale, (Math.floor(i / width) + 0.5) / scale) ? 1 : 0,
  );
}

const LINES: readonly Line[] = [
  brush(6.3, 20.2, 20.7),
  brush(4.1, 10.1, 10.3, 50.4, 30.9),
  brush(3.2, 50.6, 8.1, 12.2, 8.1, 12.2, 40.3),
  brush(9.9, -5.3, 20.1, 3.2, 60.7),
  brush(0.4, 5.5, 5.5),
];

describe("a stroke", () => {
  it.each(LINES)("%j covers what is at most its radius away, at every scale", (line) => {
    for (const scale of [0.5, 1, 2, 4]) {
      const mask = maskOf([line], SIZE, scale);
      expect([...mask.data], `scale ${scale}`).toEqual(oracle(line, scale));
    }
  });

  it("covers the same share of a picture at other scales", () => {
    const line = brush(10, 12, 12, 44, 30);
    const whole = share(maskOf([line], SIZE, 8));
    for (const scale of [1, 2, 4]) {
      expect(Math.abs(share(maskOf([line], SIZE, scale)) - whole)).toBeLessThan(0.01);
    }
  });

  it("may lose points that lie close together, and covers the same", () => {
    const points = Array.from({ length: 1000 }, (_, i) => [
      10 + i / 25,
      24 + 10 * Math.sin(i / 90),
    ]);
    const line = brush(6, ...points.flat());
    const fewer = thinned(line);
    expect(fewer.points.length).toBeLessThan(line.points.length / 5);
    expect(fewer.points.slice(-2)).toEqual(line.points.slice(-2));
    const [a, b] = [maskOf([line], SIZE, 4), maskOf([fewer], SIZE, 4)];
    const changed = a.data.filter((one, i) => one !== b.data[i]).length;
    expect(changed / a.data.length).toBeLessThan(0.002);
  });

  it("is taken back by the eraser where that went", () => {
    const both = maskOf([brush(10, 20, 20), { ...brush(4, 20, 20), kind: "eraser" }], SIZE);
    const outer = oracle(brush(10, 20, 20), 1);
    const inner = oracle(brush(4, 20, 20), 1);
    expect([...both.data]).toEqual(outer.map((one, i) => (one && !inner[i] ? 1 : 0)));
  });

  it("may be a rectangle, clear all, or turn all around", () => {
    const box: Stroke = { kind: "box", box: { x: 8, y: 8, width: 16, height: 12 } };
    const size = SIZE.width * SIZE.height;
    const count = (...strokes: Stroke[]) => Math.round(share(maskOf(strokes, SIZE)) * size);
    expect(count(box)).toBe(16 * 12);
    expect(count(box, { kind: "invert" })).toBe(size - 16 * 12);
    expect(count(box, { kind: "invert" }, { kind: "clear" })).toBe(0);
    const half = { x: 8, y: 8, width: 8, height: 12 };
    expect(count(box, { kind: "box", box: half, erases: true })).toBe(8 * 12);
    const beyond = { x: -5, y: 40, width: 500, height: 500 };
    expect(count({ kind: "box", box: beyond })).toBe(64 * 8);
  });
});

describe("undo and redo", () => {
  it("go through what was done, and what is new ends what could be done again", () => {
    let history: History<string> = NOTHING;
    for (const one of ["a", "b", "c"]) history = did(history, one);
    history = undo(undo(history));
    expect(history).toEqual({ done: ["a"], undone: ["c", "b"] });
    history = redo(history);
    expect(history).toEqual({ done: ["a", "b"], undone: ["c"] });
    expect(did(history, "d")).toEqual({ done: ["a", "b", "d"], undone: [] });
    expect(undo(NOTHING)).toEqual(NOTHING);
    expect(redo(NOTHING)).toEqual(NOTHING);
  });

  it("give the mask of before, to the pixel", () => {
    let history: History<Stroke> = did(NOTHING, brush(5, 10, 10));
    const before = maskOf(history.done, SIZE);
    history = undo(did(history, { kind: "invert" }));
    expect(maskOf(history.done, SIZE)).toEqual(before);
  });
});

describe("a rectangle", () => {
  const box = { x: 10, y: 10, width: 20, height: 16 };

  it.each([
    ["ArrowLeft", 4, false, { ...box, x: 6 }],
    ["ArrowLeft", 40, false, { ...box, x: 0 }],
    ["ArrowDown", 40, false, { ...box, y: 32 }],
    ["ArrowRight", 4, true, { ...box, width: 24 }],
    ["ArrowRight", 99, true, { ...box, width: 54 }],
    ["ArrowUp", 99, true, { ...box, height: 1 }],
    ["a", 4, false, box],
  ])("%s by %i (sizes: %s)", (key, step, sizes, after) => {
    expect(boxByKey(box, key, step, sizes, SIZE)).toEqual(after);
  });

  it("is drawn from any corner and ends at the picture's edge", () => {
    const between = boxBetween({ x: 30.2, y: 20.9 }, { x: -9, y: 5.1 }, SIZE);
    expect(between).toEqual({ x: 0, y: 5, width: 31, height: 16 });
    expect(boxBetween({ x: 70, y: 70 }, { x: 90, y: 90 }, SIZE)).toMatchObject({ width: 0 });
  });
});

describe("a mask as a file", () => {
  const mask = maskOf([brush(9, 20, 20, 40, 30)], SIZE);

  it("is transparent where to paint, and is read back", () => {
    const pixels = pixelsOf(mask);
    expect(pixels[4 * (20 * 64 + 20) + 3]).toBe(0);
    expect([...pixels.slice(0, 4)]).toEqual([0, 0, 0, 255]);
    expect(maskOfPixels(pixels, SIZE)).toEqual(mask);
  });

  it("without transparency is white where to paint", () => {
    const pixels = new Uint8ClampedArray([255, 255, 255, 255, 127, 127, 127, 255, 0, 0, 0, 255]);
    expect([...maskOfPixels(pixels, { width: 3, height: 1 }).data]).toEqual([1, 0, 0]);
    pixels[11] = 127; // now only transparency counts
    expect([...maskOfPixels(pixels, { width: 3, height: 1 }).data]).toEqual([0, 0, 1]);
  });

  it.each([mask, emptyMask(SIZE), maskOf([{ kind: "invert" }], SIZE)])("is kept as runs", (one) => {
    const runs = runsOf(one);
    expect(maskOfRuns({ runs, ...SIZE })).toEqual(one);
    expect(runs.length).toBeLessThan(400);
  });

  it("is a stroke that fits a picture of another size", () => {
    const stored: Stroke = { kind: "mask", runs: runsOf(mask), ...SIZE };
    const twice = maskOf([stored], { width: 128, height: 96 });
    expect(share(twice)).toBeCloseTo(share(mask), 10);
    expect(maskOf([stored], SIZE)).toEqual(mask);
  });
});

it("a mask is shown as a checker with an edge, and nothing elsewhere", () => {
  const mask: Mask = maskOf([{ kind: "box", box: { x: 8, y: 8, width: 16, height: 16 } }], SIZE);
  const look = { light: [1, 1, 1, 9], dark: [2, 2, 2, 9], edge: [3, 3, 3, 9], cell: 4 } as const;
  const pixels = looksLike(mask, look);
  const at = (x: number, y: number) => pixels[4 * (64 * y + x)];
  expect([at(0, 0), at(8, 8), at(12, 12), at(16, 12), at(23, 15)]).toEqual([0, 3, 1, 2, 3]);
});

describe("a view", () => {
  const view = { x: 10, y: 20, scale: 2 };
  const screen = { width: 400, height: 300 };

  it("shows the same place after it is zoomed there", () => {
    const at = { x: 133, y: 77 };
    for (const by of [1.3, 0.2, 1000]) {
      const after = toPicture(zoomed(view, by, at), at);
      expect(after.x).toBeCloseTo(toPicture(view, at).x);
      expect(after.y).toBeCloseTo(toPicture(view, at).y);
    }
    expect(zoomed(view, 1000, at).scale).toBe(16);
  });

  it("follows two fingers", () => {
    const before = [
      { x: 100, y: 100 },
      { x: 200, y: 100 },
    ];
    const after = [
      { x: 80, y: 140 },
      { x: 280, y: 140 },
    ];
    const there = pinched(view, before, after);
    expect(there.scale).toBe(4);
    before.forEach((one, i) => {
      const now = toPicture(there, after[i] ?? one);
      expect(now.x).toBeCloseTo(toPicture(view, one).x);
    });
  });

  it("fits a box into the screen, in its middle", () => {
    const box = { x: 30, y: 50, width: 200, height: 100 };
    const on = toScreen(fitted(box, screen), box);
    expect(on.x + on.width / 2).toBeCloseTo(200);
    expect(on.y + on.height / 2).toBeCloseTo(150);
    expect(on.width).toBeLessThan(400);
  });

  it("moves only as far as a box must be seen", () => {
    const seen = { x: 30, y: 40, width: 50, height: 50 };
    expect(showing(view, seen, screen)).toBe(view);
    const off = { x: 300, y: 40, width: 50, height: 50 };
    const on = toScreen(showing(view, off, screen), off);
    expect(on.x + on.width).toBeCloseTo(400 - 24);
    expect(panned(view, { x: 10, y: 0 }).x).toBe(5);
  });
});

describe("boxes", () => {
  const a = { x: 0, y: 0, width: 10, height: 10 };
  const b = { x: 6, y: -4, width: 10, height: 8 };

  it("share, surround and contain", () => {
    expect(overlap(a, b)).toEqual({ x: 6, y: 0, width: 4, height: 4 });
    expect(overlap(a, { ...b, x: 10 })).toBeNull();
    expect(around([a, b])).toEqual({ x: 0, y: -4, width: 16, height: 14 });
    expect(around([])).toBeNull();
    expect(contains(a, { x: 0, y: 9.9 })).toBe(true);
    expect(contains(a, { x: 10, y: 5 })).toBe(false);
  });
});
