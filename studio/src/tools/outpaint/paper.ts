/** What is kept of each endless canvas: its pieces, its frame, its prompt, and what is drawn now. */
import type { Signal } from "@preact/signals";
import type { Entry, Piece } from "../../canvas/frame";
import type { Box, Point } from "../../canvas/geometry";
import { did, type History, NOTHING } from "../../canvas/history";
import { papers } from "../../canvas/papers";

export interface Paper {
  entries: History<Entry>;
  /** The frame's corner, and how many times the model's size it has. */
  frame: Point;
  times: number;
  /** What was typed; null: nothing yet. */
  prompt: string | null;
  /** The job that fills a frame, until a choice is accepted or all are discarded. */
  pending: { job: string; box: Box } | null;
}

const EMPTY: Paper = {
  entries: NOTHING,
  frame: { x: 0, y: 0 },
  times: 1,
  prompt: null,
  pending: null,
};

export const paperOf = papers<Paper>("outpaint", EMPTY).of;

export function change(paper: Signal<Paper>, by: Partial<Paper>): void {
  paper.value = { ...paper.value, ...by };
}

export function add(paper: Signal<Paper>, entry: Entry): void {
  change(paper, { entries: did(paper.value.entries, entry) });
}

/** Put a drawn picture where its frame was. */
export function accept(paper: Signal<Paper>, id: string): void {
  const box = paper.value.pending?.box;
  if (!box) return;
  const piece: Piece = { kind: "picture", id, ...box };
  change(paper, { entries: did(paper.value.entries, piece), pending: null });
}
