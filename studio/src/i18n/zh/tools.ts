import type { tools as en } from "../en/tools";

export const tools: Record<keyof typeof en, string> = {};
