import type { gallery as en } from "../en/gallery";

export const gallery: Record<keyof typeof en, string> = {
  "gallery.title": "图片",
  "gallery.search": "搜索提示词",
};
