import { gallery } from "./gallery";
import { make } from "./make";
import { picture } from "./picture";
import type { Tool } from "./tool";

export const TOOLS: readonly Tool[] = [make, gallery, picture];
