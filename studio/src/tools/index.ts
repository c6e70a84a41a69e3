import { edit } from "./edit";
import { gallery } from "./gallery";
import { make } from "./make";
import { outpaint } from "./outpaint";
import { picture } from "./picture";
import type { Tool } from "./tool";

export const TOOLS: readonly Tool[] = [make, edit, outpaint, gallery, picture];
