export const gallery = {
  "gallery.title": "Pictures",
  "gallery.search": "Search prompts",
} as const satisfies Record<string, string>;
