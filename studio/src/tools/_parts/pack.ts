/** Files made of the frames' own bytes: a ZIP, and an animated PNG. */

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let value = n;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value >>> 0;
});

export function crc32(data: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of data) value = (TABLE[(value ^ byte) & 255] ?? 0) ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

export interface Entry {
  name: string;
  data: Uint8Array;
}

type Part = [bytes: 2 | 4, value: number];

function numbers(little: boolean, ...parts: Part[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(parts.reduce((all, [bytes]) => all + bytes, 0)));
  let at = 0;
  for (const [bytes, value] of parts) {
    if (bytes === 2) view.setUint16(at, value, little);
    else view.setUint32(at, value, little);
    at += bytes;
  }
  return new Uint8Array(view.buffer);
}

export function join(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(pieces.reduce((all, one) => all + one.length, 0));
  let at = 0;
  for (const one of pieces) {
    whole.set(one, at);
    at += one.length;
  }
  return whole;
}

const FIRST_OF_1980: Part = [4, 0x00210000]; // the earliest date that a ZIP can have

/** Pictures are compressed already, so they are stored as they are. */
export function zip(entries: readonly Entry[]): Uint8Array<ArrayBuffer> {
  const files: Uint8Array[] = [];
  const list: Uint8Array[] = [];
  let at = 0;
  for (const { name, data } of entries) {
    const called = new TextEncoder().encode(name);
    const told: Part[] = [
      [2, 20],
      [2, 0x0800], // the name is UTF-8
      [2, 0],
      FIRST_OF_1980,
      [4, crc32(data)],
      [4, data.length],
      [4, data.length],
      [2, called.length],
      [2, 0],
    ];
    const file = join([numbers(true, [4, 0x04034b50], ...told), called, data]);
    const more: Part[] = [
      [2, 0],
      [2, 0],
      [2, 0],
      [4, 0],
      [4, at],
    ];
    list.push(join([numbers(true, [4, 0x02014b50], [2, 20], ...told, ...more), called]));
    files.push(file);
    at += file.length;
  }
  const listed = join(list);
  const count: Part = [2, entries.length];
  const sizes: Part[] = [
    [4, listed.length],
    [4, at],
    [2, 0],
  ];
  return join([...files, listed, numbers(true, [4, 0x06054b50], [4, 0], count, count, ...sizes)]);
}

interface Chunk {
  kind: string;
  data: Uint8Array;
}

const SIGNATURE = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);

export function chunksOf(png: Uint8Array): Chunk[] {
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  const found: Chunk[] = [];
  for (let at = SIGNATURE.length; at + 12 <= png.length; ) {
    const length = view.getUint32(at);
    const kind = String.fromCharCode(...png.subarray(at + 4, at + 8));
    found.push({ kind, data: png.subarray(at + 8, at + 8 + length) });
    at += 12 + length;
  }
  return found;
}

function chunk(kind: string, ...pieces: Uint8Array[]): Uint8Array {
  const inner = join([Uint8Array.from(kind, (letter) => letter.charCodeAt(0)), ...pieces]);
  return join([numbers(false, [4, inner.length - 4]), inner, numbers(false, [4, crc32(inner)])]);
}

/** An animated PNG of PNGs of one size and kind of pixels, played for ever. */
export function animate(frames: readonly Uint8Array[], speed: number): Uint8Array<ArrayBuffer> {
  const all = frames.map(chunksOf);
  const head = all[0]?.find((one) => one.kind === "IHDR")?.data;
  if (!head) throw new Error("there is no PNG to animate");
  const same = (one: Chunk[]) =>
    String(one.find((each) => each.kind === "IHDR")?.data) === String(head);
  if (!all.every(same)) throw new Error("the frames are not alike");
  let count = 0;
  const number = () => {
    count += 1;
    return count - 1;
  };
  const pieces = [chunk("IHDR", head), chunk("acTL", numbers(false, [4, frames.length], [4, 0]))];
  all.forEach((one, i) => {
    const offset: Part[] = [
      [4, 0],
      [4, 0],
    ];
    const delay: Part[] = [
      [2, 100],
      [2, Math.round(100 * speed)],
      [2, 0],
    ];
    const order = numbers(false, [4, number()]);
    pieces.push(chunk("fcTL", order, head.subarray(0, 8), numbers(false, ...offset, ...delay)));
    for (const { kind, data } of one) {
      if (kind !== "IDAT") continue;
      if (i === 0) pieces.push(chunk("IDAT", data));
      else pieces.push(chunk("fdAT", numbers(false, [4, number()]), data));
    }
  });
  return join([SIGNATURE, ...pieces, chunk("IEND")]);
}
