import { describe, expect, it } from "vitest";
import {
  beside,
  boundsOf,
  cutOut,
  type Entry,
  knownIn,
  knownShare,
  type Piece,
  resized,
  snapped,
  timesFor,
} from "../src/canvas/frame";
import { share } from "../src/canvas/mask";

const piece = (x: number, y: number, size = 256): Piece => ({
  kind: "picture",
  id: `${x},${y}`,
  x,
  y,
  width: size,
  height: size,
});
const FRAME = { x: 128, y: 0, width: 256, height: 256 };

describe("what is known in a frame", () => {
  it.each<[Entry[], number]>([
    [[], 0],
    [[piece(0, 0)], 0.5],
    [[piece(0, 0), piece(256, 128)], 0.75],
    [[piece(128, 0)], 1],
    [[piece(900, 0)], 0],
  ])("%j: %d", (entries, known) => {
    expect(knownShare(FRAME, entries)).toBeCloseTo(known, 10);
    expect(share(knownIn(FRAME, entries))).toBeCloseTo(known, 10);
  });

  it("is to the pixel what lies in a piece", () => {
    const known = knownIn({ x: 3, y: 5, width: 8, height: 4 }, [piece(6, 7, 4)]);
    const rows = [0, 1, 2, 3].map((y) => [...known.data.slice(8 * y, 8 * y + 8)].join(""));
    expect(rows).toEqual(["00000000", "00000000", "00011110", "00011110"]);
  });

  it("ends where it was erased, until a piece is put over it", () => {
    const erased: Entry = { kind: "eraser", radius: 20, points: [200, 100] };
    const area = (Math.PI * 400) / 256 ** 2;
    expect(share(knownIn(FRAME, [piece(0, 0), erased]))).toBeCloseTo(0.5 - area, 3);
    expect(share(knownIn(FRAME, [piece(0, 0), erased, piece(0, 0)]))).toBe(0.5);
  });
});

it("what is not known becomes transparent, and what is known keeps its pixels", () => {
  const pixels = new Uint8ClampedArray([9, 8, 7, 255, 6, 5, 4, 255, 3, 2, 1, 90]);
  const known = { width: 3, height: 1, data: new Uint8Array([1, 0, 1]) };
  expect(cutOut(pixels, known)).toBe(2);
  expect([...pixels]).toEqual([9, 8, 7, 255, 0, 0, 0, 0, 0, 0, 0, 0]);
});

describe("a frame", () => {
  it.each([
    [133, -4, 128, 0],
    [251, 3, 251, 0],
    [5, 120, 0, 128],
    [60, 60, 60, 60],
  ])("at %i, %i snaps to %i, %i", (x, y, sx, sy) => {
    expect(snapped({ ...FRAME, x, y }, [piece(0, 0)], 8)).toMatchObject({ x: sx, y: sy });
  });

  it("does not snap to what is far away", () => {
    expect(snapped({ ...FRAME, x: 5003, y: 2 }, [piece(0, 0)], 8)).toMatchObject({ x: 5003, y: 2 });
  });

  it.each([
    ["left", -128, 0],
    ["right", 384, 0],
    ["top", 128, -128],
    ["bottom", 128, 128],
  ] as const)("goes half over the %s edge", (side, x, y) => {
    const bounds = boundsOf([piece(0, 0), piece(256, 0)]);
    expect(bounds && beside(FRAME, bounds, side)).toEqual({ ...FRAME, x, y });
  });

  it("comes back to what is there along the edge", () => {
    const far = { ...FRAME, y: 4000 };
    expect(beside(far, piece(0, 0), "right")).toEqual({ ...FRAME, x: 128, y: 0 });
  });

  it("is as large as a large picture needs it", () => {
    const model = { width: 256, height: 256 };
    const sides = [64, 256, 384, 512, 1024, 4096];
    const times = sides.map((side) => timesFor({ width: side, height: side }, model));
    expect(times).toEqual([1, 1, 1, 2, 4, 4]);
    expect(resized(FRAME, { width: 512, height: 512 })).toEqual({
      x: 0,
      y: -128,
      width: 512,
      height: 512,
    });
  });
});
