import { edit } from "./edit";
import { make } from "./make";
import { outpaint } from "./outpaint";
import type { Tool } from "./tool";

export const TOOLS: readonly Tool[] = [make, edit, outpaint];
