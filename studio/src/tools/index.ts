import { edit } from "./edit";
import { make } from "./make";
import type { Tool } from "./tool";

export const TOOLS: readonly Tool[] = [make, edit];
