import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deflateSync, crc32 as reference } from "node:zlib";
import { describe, expect, it } from "vitest";
import { captionsOf, percent, ranked, withCaptions } from "../src/tools/_parts/captions";
import { animate, chunksOf, crc32, zip } from "../src/tools/_parts/pack";
import { corner, layoutOf } from "../src/tools/_parts/sheet";
import { nextFrame, opacityAt, order, placeAt } from "../src/tools/_parts/timing";
import { examplesOf, knows, replaced } from "../src/tools/_parts/words";

describe("a film", () => {
  it.each([
    [0, true, 0],
    [0.5, true, 2],
    [0.75, true, 3],
    [1, true, 2],
    [1.5, true, 0],
    [1.75, true, 1],
    [0.5, false, 2],
    [9, false, 3],
  ])("of four frames, 4 a second, after %f s (back: %s) is at %f", (seconds, back, place) => {
    expect(placeAt(seconds, 4, 4, back)).toBeCloseTo(place);
  });

  it("of one frame stands still", () => {
    expect(placeAt(3, 1, 4, true)).toBe(0);
  });

  it("shows the frame of its place, and half of the next between two", () => {
    expect([0, 1, 2].map((one) => opacityAt(one, 1))).toEqual([1, 1, 0]);
    expect([0, 1, 2, 3].map((one) => opacityAt(one, 1.5))).toEqual([1, 1, 0.5, 0]);
  });

  it("is moved by whole frames, within its ends", () => {
    expect([nextFrame(0, 1, 4), nextFrame(1.4, 1, 4), nextFrame(3, 1, 4)]).toEqual([1, 2, 3]);
    expect([nextFrame(0, -1, 4), nextFrame(1.4, -1, 4), nextFrame(3, -1, 4)]).toEqual([0, 1, 2]);
  });

  it("that goes back shows its ends once", () => {
    expect(order(4, true)).toEqual([0, 1, 2, 3, 2, 1]);
    expect(order(2, true)).toEqual([0, 1]);
    expect(order(3, false)).toEqual([0, 1, 2]);
  });
});

describe("captions", () => {
  it("are lines, without empty ones and doubles", () => {
    expect(captionsOf(" a fox \n\n a cat\r\na fox")).toEqual(["a fox", "a cat"]);
    expect(withCaptions(["a fox"], "a fox\na car")).toEqual(["a fox", "a car"]);
  });

  it("are ranked by their shares; equals stay in order", () => {
    const found = ranked(["a", "b", "c"], [0.2, 0.6, 0.2]);
    expect(found.map((one) => one.caption)).toEqual(["b", "a", "c"]);
  });

  it.each([
    [0, "0"],
    [0.0001, "< 0.1"],
    [0.0123, "1.2"],
    [0.456, "46"],
    [0.9931, "99.3"],
    [1, "100"],
  ])("%f is read as %s", (share, text) => {
    expect(percent(share)).toBe(text);
  });
});

describe("words", () => {
  const known = new Set(["a", "fox", "red", "一", "只", "狐狸", "红色", "的"]);

  it.each([
    ["a red fox", true],
    ["A red fox.", true],
    ["a zebra", false],
    ["一只红色的狐狸", true],
    ["一只狐", false],
  ])("%s: known %s", (text, yes) => {
    expect(knows(known, text)).toBe(yes);
  });

  it("are replaced as a whole, whatever they are made of", () => {
    expect(replaced("a Cat, concat (cat)", "cat", "$&")).toBe("a $&, concat ($&)");
    expect(replaced("一只斑马", "斑马", "猫")).toBe("一只猫");
  });

  it("choose the examples", () => {
    expect(examplesOf(["a fox", "a zebra"], [...known])).toEqual(["a fox"]);
    expect(examplesOf(["a fox", "a zebra"])).toEqual(["a fox", "a zebra"]);
    expect(examplesOf(["a zebra"], ["a", "house"])).toEqual(["house"]);
  });
});

function png(pixel: number): Uint8Array {
  const chunk = (kind: string, data: Buffer) => {
    const inner = Buffer.concat([Buffer.from(kind), data]);
    const ends = Buffer.alloc(8);
    ends.writeUInt32BE(data.length, 0);
    ends.writeUInt32BE(reference(inner), 4);
    return Buffer.concat([ends.subarray(0, 4), inner, ends.subarray(4)]);
  };
  const head = Buffer.from([0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0]);
  const text = chunk("tEXt", Buffer.from("a\0b"));
  const body = chunk("IDAT", deflateSync(Buffer.from([0, pixel])));
  const parts = [chunk("IHDR", head), text, body, chunk("IEND", Buffer.alloc(0))];
  return Buffer.concat([Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]), ...parts]);
}

const PYTHON = process.env["PYTHON"] ?? "../.venv/bin/python";

function python(code: string, name: string, data: Uint8Array): string {
  const file = join(mkdtempSync(join(tmpdir(), "unclip-pack-")), name);
  writeFileSync(file, data);
  return execFileSync(PYTHON, ["-c", code, file], { encoding: "utf8" }).trim();
}

describe("files", () => {
  it("have the checksum that zlib computes", () => {
    const data = Uint8Array.from({ length: 999 }, (_, i) => (i * 7) & 255);
    expect(crc32(data)).toBe(reference(data));
  });

  it.skipIf(!existsSync(PYTHON))("are packed so that others unpack them", () => {
    const packed = zip([
      { name: "01.png", data: png(1) },
      { name: "第二.png", data: png(2) },
    ]);
    const code =
      "import sys, zipfile as z; f = z.ZipFile(sys.argv[1]); print(f.testzip(), [(i.filename, i.file_size) for i in f.infolist()])";
    const size = png(1).length;
    expect(python(code, "a.zip", packed)).toBe(`None [('01.png', ${size}), ('第二.png', ${size})]`);
  });

  it.skipIf(!existsSync(PYTHON))(
    "are animated: Pillow finds every frame, its pixels and its time",
    () => {
      const film = animate([png(10), png(200), png(30)], 4);
      const code =
        "import sys; from PIL import Image; f = Image.open(sys.argv[1]); print(f.n_frames, f.info.get('loop'), [(f.seek(i), f.convert('L').getpixel((0, 0)), f.info['duration'])[1:] for i in range(f.n_frames)])";
      expect(python(code, "a.png", film)).toBe("3 0 [(10, 250.0), (200, 250.0), (30, 250.0)]");
      expect(chunksOf(film).some((one) => one.kind === "tEXt")).toBe(false);
    },
  );

  it("that are not alike are not animated", () => {
    expect(() => animate([], 4)).toThrow();
  });
});

it("a sheet has its cells apart, and within it", () => {
  const layout = layoutOf(3, 2, true);
  expect(corner(layout, 1, 0)[0] - corner(layout, 0, 0)[0]).toBeGreaterThan(layout.side);
  const [left, top] = corner(layout, 2, 1);
  expect(left + layout.side).toBeLessThanOrEqual(layout.width);
  expect(top + layout.side).toBeLessThanOrEqual(layout.height);
});
