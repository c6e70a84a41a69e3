import { edit } from "./edit";
import { gallery } from "./gallery";
import { img2img } from "./img2img";
import { interpolate } from "./interpolate";
import { make } from "./make";
import { outpaint } from "./outpaint";
import { picture } from "./picture";
import { probe } from "./probe";
import { sweepTool } from "./sweep";
import { textdiff } from "./textdiff";
import type { Tool } from "./tool";
import { upscale } from "./upscale";
import { vary } from "./vary";

/** In the order of the page's list. */
export const TOOLS: readonly Tool[] = [
  make,
  vary,
  edit,
  outpaint,
  img2img,
  textdiff,
  upscale,
  interpolate,
  sweepTool,
  probe,
  gallery,
  picture,
];
