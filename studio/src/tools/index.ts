import { img2img } from "./img2img";
import { interpolate } from "./interpolate";
import { make } from "./make";
import { probe } from "./probe";
import { sweepTool } from "./sweep";
import { textdiff } from "./textdiff";
import type { Tool } from "./tool";
import { upscale } from "./upscale";
import { vary } from "./vary";

export const TOOLS: readonly Tool[] = [
  make,
  vary,
  textdiff,
  img2img,
  upscale,
  interpolate,
  sweepTool,
  probe,
];
