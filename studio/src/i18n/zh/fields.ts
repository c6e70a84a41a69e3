import type { fields as en } from "../en/fields";

export const fields: Record<keyof typeof en, string> = {
  "field.none": "无",
  "field.number": "必须是数字。",
  "field.whole": "必须是整数。",
  "field.least": "至少 {n}。",
  "field.most": "至多 {n}。",
  "field.above": "大于 {n}。",
  "field.between": "{low} 到 {high}。",
  "field.steps": "步数",
  "field.guidance_scale": "引导强度",
  "field.sampler": "采样器",
  "field.best_of": "多选一",
  "field.size": "尺寸",
  "field.aspect": "比例",
  "field.tile": "无缝边缘",
};
