/** What is kept of each picture that is edited: the strokes of its mask, and the prompt. */
import type { Signal } from "@preact/signals";
import type { Box, Size } from "../../canvas/geometry";
import { did, type History, NOTHING, redo, undo } from "../../canvas/history";
import type { Stroke } from "../../canvas/mask";
import { papers } from "../../canvas/papers";

export interface Paper {
  strokes: History<Stroke>;
  /** What was typed; null: nothing yet. */
  prompt: string | null;
}

export type Kind = "brush" | "eraser" | "rectangle";

export const paperOf = papers<Paper>("edit", { strokes: NOTHING, prompt: null }).of;

export function add(paper: Signal<Paper>, stroke: Stroke): void {
  change(paper, (one) => did(one, stroke));
}

export function back(paper: Signal<Paper>): void {
  change(paper, undo);
}

export function forth(paper: Signal<Paper>): void {
  change(paper, redo);
}

function change(paper: Signal<Paper>, by: (one: History<Stroke>) => History<Stroke>): void {
  paper.value = { ...paper.value, strokes: by(paper.value.strokes) };
}

/** A rectangle to begin with: the middle of a picture. */
export function middleOf({ width, height }: Size): Box {
  const along = (side: number) => Math.max(1, Math.round(side / 2));
  return {
    x: Math.round(width / 4),
    y: Math.round(height / 4),
    width: along(width),
    height: along(height),
  };
}

/** The next larger or smaller brush: by a fifth, at least by a pixel. */
export function nextRadius(radius: number, sign: 1 | -1, largest: number): number {
  const by = Math.max(1, Math.round(radius / 5));
  return Math.min(Math.max(1, radius + sign * by), largest);
}
