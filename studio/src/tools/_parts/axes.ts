/** The axes of a sweep: what is changed, to which values, and what each cell asks for. */
import type { Fields, Model } from "../../api/types";

export const AXES = [
  "seed",
  "words",
  "guidance",
  "steps",
  "sampler",
  "eta",
  "prior",
  "decoder",
  "negative",
  "none",
] as const;
export type AxisKind = (typeof AXES)[number];

export interface Axis {
  kind: AxisKind;
  text: string;
}

export type Value = string | number;

/** What is wrong with an axis: a key of the catalogue and its values. */
export interface Wrong {
  key:
    | "sweep.wrong.empty"
    | "sweep.wrong.number"
    | "sweep.wrong.whole"
    | "sweep.wrong.range"
    | "sweep.wrong.many"
    | "sweep.wrong.low"
    | "sweep.wrong.name"
    | "sweep.wrong.twice"
    | "sweep.wrong.word"
    | "sweep.wrong.both";
  values: Record<string, Value>;
}

export type Parsed = { values: Value[]; wrong: null } | { values: null; wrong: Wrong };

/** Most values of an axis. */
export const MOST_VALUES = 64;

const WHOLE = new Set<AxisKind>(["seed", "steps"]);
const NUMBERS = new Set<AxisKind>([...WHOLE, "guidance", "eta"]);
const LEAST: Partial<Record<AxisKind, number>> = { seed: 0, steps: 1, guidance: 0, eta: 0 };

export function isNumber(kind: AxisKind): boolean {
  return NUMBERS.has(kind);
}

function no(key: Wrong["key"], values: Wrong["values"] = {}): Parsed {
  return { values: null, wrong: { key, values } };
}

/** The values of an axis: `1, 2, 4`, `1..8 by 1`, `a fox | a cat`. */
export function parse(axis: Axis, names: readonly string[] = []): Parsed {
  if (axis.kind === "none") return { values: [""], wrong: null };
  const found = isNumber(axis.kind) ? numbersOf(axis) : textsOf(axis, names);
  if (!found.values) return found;
  if (found.values.length === 0) return no("sweep.wrong.empty");
  if (found.values.length > MOST_VALUES) return no("sweep.wrong.many", { most: MOST_VALUES });
  const twice = found.values.find((one, i) => found.values.indexOf(one) !== i);
  return twice === undefined ? found : no("sweep.wrong.twice", { value: twice });
}

function textsOf({ kind, text }: Axis, names: readonly string[]): Parsed {
  const splits = kind === "words" || kind === "negative" ? /[|｜\n]/ : /[|｜\n,，、]/;
  const values = text.split(splits).map((one) => one.trim());
  const kept = kind === "negative" && values.length > 1 ? values : values.filter(Boolean);
  const strange = names.length > 0 && kept.find((one) => !names.includes(one));
  if (strange) return no("sweep.wrong.name", { value: strange, names: names.join(", ") });
  return { values: kept, wrong: null };
}

const RANGE = /^(\S+?)\s*(?:\.\.+|…|to|到|至)\s*(\S+?)(?:\s*(?:by|step|每|:)\s*(\S+))?$/i;

function numbersOf({ kind, text }: Axis): Parsed {
  const values: number[] = [];
  const pieces = text.split(/[,，、;；|\n]/).map((one) => one.trim());
  for (const piece of pieces.filter(Boolean)) {
    const range = Number.isFinite(Number(piece)) ? null : RANGE.exec(piece);
    const ends = (range ? [range[1], range[2], range[3] ?? "1"] : [piece]).map(Number);
    if (!ends.every(Number.isFinite)) return no("sweep.wrong.number", { value: piece });
    const [low = 0, high = low, step = 1] = ends;
    if (range && (step <= 0 || high < low)) return no("sweep.wrong.range", { value: piece });
    if ((high - low) / step >= MOST_VALUES) return no("sweep.wrong.many", { most: MOST_VALUES });
    for (let i = 0; low + i * step <= high + 1e-9; i += 1) values.push(tidy(low + i * step));
  }
  const least = LEAST[kind] ?? -Infinity;
  const small = values.find((one) => one < least);
  if (small !== undefined) return no("sweep.wrong.low", { value: small, least });
  const broken = WHOLE.has(kind) ? values.find((one) => !Number.isInteger(one)) : undefined;
  if (broken !== undefined) return no("sweep.wrong.whole", { value: broken });
  return { values, wrong: null };
}

/** 0.30000000000000004 is 0.3. */
function tidy(value: number): number {
  return Number(value.toFixed(9));
}

/** What is wrong with two axes together, or with words that the prompt does not have. */
export function fault(prompt: string, x: Axis, y: Axis, xs: Value[], ys: Value[]): Wrong | null {
  if (x.kind === y.kind && x.kind !== "words" && x.kind !== "none") {
    return { key: "sweep.wrong.both", values: {} };
  }
  for (const [axis, values] of [[x, xs] as const, [y, ys] as const]) {
    const first = String(values[0] ?? "");
    if (axis.kind === "words" && !prompt.includes(first)) {
      return { key: "sweep.wrong.word", values: { value: first } };
    }
  }
  return null;
}

export interface Place {
  x: number;
  y: number;
}

/** Row by row, as one reads. */
export function order(columns: number, rows: number): Place[] {
  return Array.from({ length: columns * rows }, (_, i) => ({
    x: i % columns,
    y: Math.floor(i / columns),
  }));
}

/** The fields and the settings of a cell. */
export function cell(
  prompt: string,
  seed: number,
  axes: readonly { kind: AxisKind; values: readonly Value[]; at: number }[],
): { fields: Fields; settings: Fields } {
  const fields: Fields = { prompt, seed, n: 1 };
  const settings: Fields = {};
  for (const { kind, values, at } of axes) {
    const value = values[at] ?? "";
    if (kind === "seed") fields["seed"] = value;
    else if (kind === "words") {
      fields["prompt"] = String(fields["prompt"]).replaceAll(String(values[0]), String(value));
    } else if (kind === "prior" || kind === "decoder") fields[kind] = value;
    else if (kind === "negative") fields["negative_prompt"] = value;
    else if (kind === "guidance") settings["guidance_scale"] = value;
    else if (kind !== "none") settings[kind] = value;
  }
  return { fields, settings };
}

/** Names that an axis may take, where the model tells. */
export function namesOf(kind: AxisKind, model: Model | null): readonly string[] {
  if (kind === "prior") return model?.priors ?? [];
  if (kind === "decoder") return model?.decoders ?? [];
  if (kind === "sampler")
    return (model?.settings?.["decoder"]?.["sampler"]?.enum ?? []).map(String);
  return [];
}
