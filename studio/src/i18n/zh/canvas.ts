import type { canvas as en } from "../en/canvas";

export const canvas: Record<keyof typeof en, string> = {};
