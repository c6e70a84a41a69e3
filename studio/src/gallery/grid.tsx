/** A grid of any number of pictures, of which those near the screen are in the document. */
import { type Signal, useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import type { Picture } from "../api/types";
import { t } from "../i18n";
import { href } from "../router";
import { favour, favourites, remove, thumbnailOf } from "../state/pictures";
import { Button } from "../ui/button";
import { Icon } from "../ui/icon";
import { titleOf } from "../ui/job";
import { isTyping } from "../ui/shortcuts";
import { keepSpot, spotOf } from "./place";
import { keyOf, queryOf } from "./search";
import { every, extend, NONE, type Selection, toggle } from "./selection";
import type { Shelf } from "./shelf";
import { columnsOf, type Grid, into, moved, rowsOf, visible } from "./window";

const GAP = 12;
/** Pixels at the screen's edges that other parts of the page cover. */
const ABOVE = 68;
const BELOW = 84;
/** Screens before the end of what is read, at which more is read. */
const AHEAD = 4;
/** Milliseconds of rest after which the place is kept: storage is slow. */
const KEEP_MS = 150;

function least(width: number): number {
  return width < 560 ? 100 : 184;
}

interface Props {
  shelf: Shelf;
  selection: Signal<Selection>;
}

export function PictureGrid({ shelf, selection }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const width = useSignal(0);
  const range = useSignal<readonly [number, number]>([0, 0]);
  const active = useSignal<string | null>(null);
  const focusing = useRef(false);
  const key = keyOf(shelf.search);
  const pictures = shelf.pictures.value;
  const [columns, side] = columnsOf(width.value, least(width.value), GAP);
  const grid: Grid = { count: pictures.length, columns, row: side + GAP };
  const newest = useRef(grid);
  newest.current = grid;
  const order = () => shelf.pictures.peek().map((one) => one.id);

  const keeping = useRef<ReturnType<typeof setTimeout>>(undefined);
  const look = useRef(() => {});
  look.current = () => {
    const here = box.current?.getBoundingClientRect();
    if (!here || here.width === 0) return;
    const now = newest.current;
    const [first, last] = visible(now, -here.top, innerHeight);
    const [a, b] = range.peek();
    if (first !== a || last !== b) range.value = [first, last];
    if (here.top > 0) shelf.merge();
    const end = rowsOf(now) * now.row + here.top;
    if (shelf.begun.peek() && end < AHEAD * innerHeight) void shelf.more();
    if (!restored.current) return;
    const there = spot(shelf.pictures.peek(), now, ABOVE - here.top);
    clearTimeout(keeping.current);
    keeping.current = setTimeout(() => keepSpot(key, there), KEEP_MS);
  };

  useEffect(() => {
    let frame = 0;
    const soon = () => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => look.current());
    };
    const resized = new ResizeObserver(([entry]) => {
      if (entry) width.value = entry.contentRect.width;
      soon();
    });
    if (box.current) resized.observe(box.current);
    addEventListener("scroll", soon, { passive: true });
    addEventListener("resize", soon);
    return () => {
      cancelAnimationFrame(frame);
      resized.disconnect();
      removeEventListener("scroll", soon);
      removeEventListener("resize", soon);
    };
  }, [width]);

  // The list has grown or shrunk, or it is of another width.
  useLayoutEffect(() => look.current(), [pictures, columns, side, shelf.fresh.value]);

  const restored = useRef(false);
  useEffect(() => {
    let left = false;
    const back = async () => {
      const kept = spotOf(key);
      const there = kept && (await shelf.until((all) => all.length > kept.at + 2));
      requestAnimationFrame(() => {
        if (left) return;
        restored.current = true;
        if (!kept || !there || !box.current) return look.current();
        const at = shelf.pictures.peek().findIndex((one) => one.id === kept.id);
        const now = newest.current;
        const row = Math.floor((at < 0 ? kept.at : at) / now.columns);
        const begin = scrollY + box.current.getBoundingClientRect().top;
        if (row > 0 || kept.above > 0) scrollTo(0, begin + row * now.row + kept.above - ABOVE);
        look.current();
      });
    };
    const known = shelf.begun.peek();
    const ready = known ? Promise.resolve() : shelf.more();
    void ready.then(back).then(() => (known ? shelf.refresh() : undefined));
    return () => {
      left = true;
    };
  }, [key, shelf]);

  useLayoutEffect(() => {
    if (!focusing.current) return;
    focusing.current = false;
    box.current?.querySelector<HTMLElement>("a[tabindex='0']")?.focus({ preventScroll: true });
  });

  const at = Math.max(
    0,
    pictures.findIndex((one) => one.id === active.value),
  );
  const step = (event: KeyboardEvent) => {
    const page = Math.max(1, Math.floor((innerHeight - ABOVE - BELOW) / grid.row));
    const held = event.ctrlKey || event.metaKey;
    const to = event.altKey ? null : moved(grid, at, event.key, held, page);
    const id = to === null ? undefined : pictures[to]?.id;
    if (to === null || id === undefined) return false;
    if (event.shiftKey) {
      const from = pictures[at]?.id ?? id;
      const begun = selection.value.anchor ? selection.value : toggle(NONE, from);
      selection.value = extend(begun, order(), id);
    }
    active.value = id;
    focusing.current = true;
    const top = box.current?.getBoundingClientRect().top ?? 0;
    scrollBy(0, into(grid, to, ABOVE - top, innerHeight - ABOVE - BELOW));
    return true;
  };
  const keys = (event: KeyboardEvent) => {
    const here = pictures[at];
    if (event.defaultPrevented || !here) return;
    if (step(event)) return event.preventDefault();
    const held = event.ctrlKey || event.metaKey || event.altKey;
    const onPicture = event.target instanceof HTMLAnchorElement;
    if (event.key === " " && onPicture && !held) {
      event.preventDefault();
      selection.value = event.shiftKey
        ? extend(selection.value, order(), here.id)
        : toggle(selection.value, here.id);
    } else if (event.key === "Delete" && !held && !shelf.search.deleted) {
      event.preventDefault();
      const chosen = [...selection.value.chosen];
      focusing.current = true;
      active.value = pictures[at + 1]?.id ?? pictures[at - 1]?.id ?? null;
      void remove(...(chosen.length > 0 ? chosen : [here.id]));
      selection.value = NONE;
    } else if (event.key === "f" && !held && !shelf.search.deleted) {
      event.preventDefault();
      void favour(here.id);
    }
  };
  useEffect(() => {
    const global = (event: KeyboardEvent) => {
      const inGrid = event.target instanceof Node && box.current?.contains(event.target);
      if ((isTyping(event.target) && !inGrid) || document.querySelector("dialog[open]")) return;
      if (event.key === "Escape") selection.value = NONE;
      if (event.key.toLowerCase() !== "a" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      void shelf
        .until(() => false)
        .then(() => {
          selection.value = every(shelf.pictures.peek().map((one) => one.id));
        });
    };
    addEventListener("keydown", global);
    return () => removeEventListener("keydown", global);
  }, [shelf, selection]);

  const choose = (id: string, shift: boolean) => {
    active.value = id;
    selection.value = shift ? extend(selection.value, order(), id) : toggle(selection.value, id);
  };
  const [first, last] = range.value;
  const rows = rowsOf(grid);
  const own = Math.floor(at / columns);
  const drawn = Array.from(
    { length: Math.max(0, Math.min(last, rows) - first) },
    (_, i) => first + i,
  );
  if (rows > 0 && !drawn.includes(own)) drawn.push(own); // it keeps the focus
  const query = { ...queryOf(shelf.search), of: "search" };
  return (
    // biome-ignore lint/a11y/useSemanticElements: a table cannot be drawn in part
    <div
      ref={box}
      class="grid"
      role="grid"
      aria-label={t("gallery.title")}
      aria-multiselectable="true"
      aria-rowcount={shelf.ended.value ? rows : -1}
      aria-colcount={columns}
      style={{ height: `${Math.max(0, rows * grid.row - GAP)}px` }}
      onKeyDown={keys}
    >
      {width.value > 0 &&
        drawn.map((row) => (
          // biome-ignore lint/a11y/useSemanticElements: as above
          // biome-ignore lint/a11y/useFocusableInteractive: its cells' links have the focus
          <div
            key={row}
            role="row"
            aria-rowindex={row + 1}
            class="grid-row"
            style={{
              transform: `translateY(${row * grid.row}px)`,
              gridTemplateColumns: `repeat(${columns}, ${side}px)`,
              height: `${side}px`,
            }}
          >
            {pictures.slice(row * columns, (row + 1) * columns).map((one, i) => (
              <Cell
                key={one.id}
                picture={one}
                column={i + 1}
                link={href("picture", one.id, query)}
                still={shelf.search.deleted}
                current={row * columns + i === at}
                chosen={selection.value.chosen.has(one.id)}
                choosing={selection.value.chosen.size > 0}
                onChoose={choose}
                onFocus={() => {
                  active.value = one.id;
                }}
              />
            ))}
          </div>
        ))}
    </div>
  );
}

function spot(pictures: readonly Picture[], grid: Grid, top: number) {
  const row = Math.max(0, Math.floor(top / grid.row));
  const at = row * grid.columns;
  const first = pictures[at];
  return first && top > 0 ? { id: first.id, at, above: Math.round(top - row * grid.row) } : null;
}

interface CellProps {
  picture: Picture;
  column: number;
  link: string;
  /** It is deleted: it cannot be opened. */
  still: boolean;
  current: boolean;
  chosen: boolean;
  /** Some are chosen: a click chooses, too. */
  choosing: boolean;
  onChoose: (id: string, shift: boolean) => void;
  onFocus: () => void;
}

function Cell(props: CellProps) {
  const { picture, chosen, current, still, onChoose } = props;
  const title = titleOf(picture);
  const favourite = favourites.value[picture.id] ?? picture.favourite;
  return (
    // biome-ignore lint/a11y/useSemanticElements: as the grid
    // biome-ignore lint/a11y/useFocusableInteractive: its link has the focus
    <div
      role="gridcell"
      aria-colindex={props.column}
      aria-selected={chosen}
      class={chosen ? "cell chosen" : "cell"}
    >
      <a
        href={props.link}
        tabIndex={current ? 0 : -1}
        onFocus={props.onFocus}
        onClick={(event) => {
          const byMouse = event.detail > 0 && !event.ctrlKey && !event.metaKey;
          if (!still && !(byMouse && (props.choosing || event.shiftKey))) return;
          event.preventDefault();
          onChoose(picture.id, event.shiftKey);
        }}
      >
        <img
          src={thumbnailOf(picture)}
          width={picture.width}
          height={picture.height}
          alt={favourite ? t("gallery.starred", { prompt: title }) : title}
          loading="lazy"
          decoding="async"
          draggable={false}
        />
      </a>
      <input
        type="checkbox"
        class="tick"
        tabIndex={-1}
        checked={chosen}
        aria-label={t("gallery.choose", { prompt: title })}
        onClick={(event) => onChoose(picture.id, event.shiftKey)}
      />
      {!still && (
        <button
          type="button"
          class={favourite ? "star on" : "star"}
          tabIndex={-1}
          aria-pressed={favourite}
          aria-label={t("action.favourite")}
          onClick={() => void favour(picture.id)}
        >
          <Icon name="star" filled={favourite} />
        </button>
      )}
    </div>
  );
}

/** New pictures that wait above. */
export function Fresh({ shelf }: { shelf: Shelf }) {
  const many = shelf.fresh.value.length;
  return (
    <div class="fresh" role="status">
      {many > 0 && (
        <Button
          kind="primary"
          label={t(many === 1 ? "gallery.fresh.one" : "gallery.fresh", { n: many })}
          onClick={() => {
            shelf.merge();
            scrollTo({ top: 0 });
          }}
        />
      )}
    </div>
  );
}
