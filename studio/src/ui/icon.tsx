/** Line icons on a grid of 24; decorative, so that their button's label says what they do. */
const PATHS = {
  make: "M12 3v4m0 10v4M3 12h4m10 0h4M6 6l2.5 2.5m7 7L18 18M18 6l-2.5 2.5m-7 7L6 18",
  vary: "M4 4h7v7H4zM13 13h7v7h-7zM14 7h3a3 3 0 0 1 3 3M10 17H7a3 3 0 0 1-3-3",
  edit: "M14.5 5.5l4 4L8 20H4v-4zM12.5 7.5l4 4",
  outpaint: "M8 8h8v8H8zM3 7V3h4M17 3h4v4M21 17v4h-4M7 21H3v-4",
  interpolate: "M3 6h6v6H3zM15 12h6v6h-6zM10 9h4l3 2M14 15h-4l-3-2",
  textdiff: "M4 6h9M4 12h6M4 18h9M15 12h6m-3-3l3 3-3 3",
  img2img: "M3 5h8v8H3zM13 11h8v8h-8zM7 16v3h3M17 8V5h-3",
  upscale: "M4 14v6h6M20 10V4h-6M4 20l6-6M20 4l-6 6",
  probe: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.3 15.3L20 20M8 10.5h5",
  sweep: "M4 4h16v16H4zM4 9.3h16M4 14.6h16M9.3 4v16M14.6 4v16",
  gallery: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5h.01",
  star: "M12 3.5l2.6 5.6 6.1.7-4.5 4.2 1.2 6-5.4-3-5.4 3 1.2-6L3.3 9.8l6.1-.7z",
  download: "M12 4v11m-4-4l4 4 4-4M5 20h14",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v5m4-5v5",
  close: "M6 6l12 12M18 6L6 18",
  undo: "M8 5L4 9l4 4M4 9h10a6 6 0 0 1 0 12h-3",
  redo: "M16 5l4 4-4 4M20 9H10a6 6 0 0 0 0 12h3",
  sliders: "M4 7h9m5 0h2M4 17h2m5 0h9M15.5 4.5v5M8.5 14.5v5",
  help: "M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 17.5h.01M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
  lock: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
  unlock: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 6.7-1.4",
  upload: "M12 20V9m-4 4l4-4 4 4M5 4h14",
  copy: "M8 8h12v12H8zM16 8V4H4v12h4",
  globe:
    "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM3 12h18M12 3c3 3 3.5 6 3.5 9S15 18 12 21c-3-3-3.500-6-3.500-9S9 6 12 3z",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v3m0 14v3M2 12h3m14 0h3M5 5l2 2m10 10l2 2M19 5l-2 2M7 17l-2 2",
  moon: "M20 14.500A8.500 8.500 0 0 1 9.500 4 8.500 8.500 0 1 0 20 14.500z",
  play: "M7 4.500v15l12-7.500z",
  pause: "M7 5h3.500v14H7zM13.500 5H17v14h-3.500z",
  eraser: "M8 20l-5-5L14 4l7 7-9 9zM9 9l7 7M8 20h13",
  brush: "M20 4c-5 2-9 6-11 9l2 2c3-2 7-6 9-11zM8 14c-3 0-3 4-5 5 3 1.500 7 1 7-3",
  rectangle: "M4 6h16v12H4z",
  hand: "M12 4v8m4-6v6m-8-6v8M4 12l4 7c1 1.500 2.500 2 4 2h2c3 0 6-2 6-6V9",
  plus: "M12 5v14M5 12h14",
  tag: "M4 4h8l8 8-8 8-8-8zM8 8h.01",
  folder: "M3 6h6l2 2h10v11H3z",
  swap: "M8 4v15m-4-4l4 4 4-4M16 20V5m-4 4l4-4 4 4",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  check: "M5 12.500l4.500 4.500L19 7",
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.3 15.3L20 20",
  minus: "M5 12h14",
  invert: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 3v18M12 8h5M12 12h8M12 16h5",
  left: "M19 12H5m6-6l-6 6 6 6",
  right: "M5 12h14m-6-6l6 6-6 6",
  up: "M12 19V5m-6 6l6-6 6 6",
  down: "M12 5v14m-6-6l6 6 6-6",
  fit: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  eye: "M2.5 12S6 5.500 12 5.500 21.500 12 21.500 12 18 18.500 12 18.500 2.500 12 2.500 12zM12 9.500a2.500 2.500 0 1 0 0 5 2.500 2.500 0 0 0 0-5z",
  back: "M15 5l-7 7 7 7",
  next: "M9 5l7 7-7 7",
  out: "M10 4H5v16h5M15 8l4 4-4 4M19 12H9",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, filled = false }: { name: IconName; filled?: boolean }) {
  return (
    <svg
      aria-hidden="true"
      width="20"
      height="20"
      viewBox="0 0 24 24"
      fill={filled ? "currentColor" : "none"}
      stroke="currentColor"
      stroke-width="1.8"
      stroke-linecap="round"
      stroke-linejoin="round"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
