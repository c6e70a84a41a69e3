/** The pictures of a search, newest first, read page by page and kept true by what is told of them. */
import { batch, computed, effect, signal } from "@preact/signals";
import { api } from "../api/client";
import type { Picture } from "../api/types";
import { type Change, changes, deleted, know, onChange } from "../state/pictures";
import { attempt } from "../state/toasts";
import { keyOf, queryOf, type Search } from "./search";

const PAGE = 200;
/** Pages of new pictures that are read at most before the list begins anew. */
const MOST_NEW = 5;
/** Milliseconds in which changes are collected: a selection's come one by one. */
const COLLECT = 120;

export type Read = (search: Search, limit: number, before?: string) => Promise<Picture[] | null>;

async function read(search: Search, limit: number, before = ""): Promise<Picture[] | null> {
  const query = { ...queryOf(search), limit: String(limit), ...(before && { before }) };
  const asked = new URLSearchParams(query);
  const page = await attempt(() => api.get<{ data: Picture[] }>(`v1/pictures?${asked}`));
  return page?.data ?? null;
}

/** Runs of places that one page can hold. */
export function runs(places: readonly number[], most = PAGE): [number, number][] {
  const found: [number, number][] = [];
  for (const place of [...places].sort((a, b) => a - b)) {
    const last = found.at(-1);
    if (last && place - last[0] < most) last[1] = place;
    else found.push([place, place]);
  }
  return found;
}

/**
 * A list after some of it was read again.
 * @param asked ids of a run of it
 * @param answer what the server has now from that run's begin on, as many
 * @returns null where the answer does not say what became of each
 */
export function settled(
  list: readonly Picture[],
  asked: readonly string[],
  answer: readonly Picture[],
): Picture[] | null {
  const places = new Map(list.map((one, i) => [one.id, i]));
  const strange = answer.findIndex((one) => !places.has(one.id));
  const told = strange < 0 ? answer : answer.slice(0, strange);
  const begin = (places.get(asked[0] ?? "") ?? 0) - 1;
  const reached = Math.max(begin, ...told.map((one) => places.get(one.id) ?? -1));
  const now = new Map(told.map((one) => [one.id, one]));
  const gone = new Set(asked.filter((id) => !now.has(id)));
  const behind = list.slice(reached + 1).filter((one) => !gone.has(one.id));
  // Beyond what is read, all is strange; before that, something came in between.
  if (strange >= 0 && behind.length > 0) return null;
  return list.filter((one) => !gone.has(one.id)).map((one) => now.get(one.id) ?? one);
}

export class Shelf {
  private readonly all = signal<readonly Picture[]>([]);
  /** New ones that are not among the others yet: whoever looks must not lose their place. */
  readonly fresh = signal<readonly Picture[]>([]);
  readonly ended = signal(false);
  readonly busy = signal(false);
  /** Whether the first page was read. */
  readonly begun = signal(false);
  readonly pictures = computed(() =>
    this.search.deleted || deleted.value.size === 0
      ? this.all.value
      : this.all.value.filter((one) => !deleted.value.has(one.id)),
  );
  private reading: Promise<void> | null = null;
  /** Counts how often the list was read anew. */
  private turn = 0;
  private waiting = new Map<string, Change>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly ends: (() => void)[];

  constructor(
    readonly search: Search,
    private readonly page: Read = read,
  ) {
    let first = true;
    this.ends = [
      onChange((ids, change) => this.hear(ids, change)),
      effect(() => {
        changes.value;
        if (!first) void this.refresh();
        first = false;
      }),
    ];
  }

  close(): void {
    clearTimeout(this.timer);
    for (const end of this.ends) end();
  }

  /** Read the next page, unless it is being read. */
  more(): Promise<void> {
    if (this.ended.value) return Promise.resolve();
    this.reading ??= this.next().finally(() => {
      this.reading = null;
    });
    return this.reading;
  }

  private async next(): Promise<void> {
    this.busy.value = true;
    const limit = this.begun.value ? PAGE : PAGE / 2;
    const { turn } = this;
    const last = this.all.peek().at(-1)?.id;
    const page = await this.page(this.search, limit, last);
    // The list was read anew in the meantime, and ends elsewhere: this page may not follow it.
    const anew = turn !== this.turn && this.all.peek().at(-1)?.id !== last;
    if (anew && page && !this.ended.peek()) return this.next();
    batch(() => {
      this.busy.value = false;
      if (anew) return;
      if (!page) return;
      know(page);
      const there = new Set(this.all.peek().map((one) => one.id));
      this.all.value = [...this.all.peek(), ...page.filter((one) => !there.has(one.id))];
      this.ended.value = page.length < limit;
      this.begun.value = true;
    });
  }

  /** Read until so many are there, or all. False where the server does not answer. */
  async until(enough: (all: readonly Picture[]) => boolean): Promise<boolean> {
    while (!enough(this.pictures.peek()) && !this.ended.peek()) {
      const before = this.all.peek().length;
      await this.more();
      if (this.all.peek().length === before && !this.ended.peek()) return false;
    }
    return true;
  }

  /** Look for pictures that are newer than the newest known. */
  async refresh(): Promise<void> {
    if (!this.begun.peek()) return this.more();
    const known = new Set([...this.fresh.peek(), ...this.all.peek()].map((one) => one.id));
    const found: Picture[] = [];
    for (let pages = 0; pages < MOST_NEW; pages += 1) {
      const page = await this.page(this.search, PAGE / 2, found.at(-1)?.id);
      if (!page) return;
      know(page);
      const fresh = page.filter((one) => !known.has(one.id));
      found.push(...fresh);
      if (fresh.length < page.length || page.length < PAGE / 2) return this.add(found);
    }
    batch(() => {
      this.turn += 1;
      this.all.value = found;
      this.fresh.value = [];
      this.ended.value = false;
    });
  }

  private add(read: readonly Picture[]): void {
    const known = new Set(this.all.peek().map((one) => one.id));
    const found = read.filter((one) => !known.has(one.id));
    if (found.length === 0) return;
    const there = new Set(found.map((one) => one.id));
    const newest = this.all.peek()[0];
    // What was restored belongs further down, where it is found when the list is read again.
    if (newest && found.some((one) => one.created < newest.created)) return void this.again();
    this.fresh.value = [...found, ...this.fresh.peek().filter((one) => !there.has(one.id))];
  }

  /** Put the new ones where they belong. */
  merge(): void {
    if (this.fresh.peek().length === 0) return;
    batch(() => {
      const known = new Set(this.all.peek().map((one) => one.id));
      const fresh = this.fresh.peek().filter((one) => !known.has(one.id));
      this.all.value = [...fresh, ...this.all.peek()];
      this.fresh.value = [];
    });
  }

  private hear(ids: readonly string[], change: Change): void {
    if (!this.begun.peek()) return;
    for (const id of ids) this.waiting.set(id, change);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.settle(), COLLECT);
  }

  private async settle(): Promise<void> {
    const heard = [...this.waiting];
    this.waiting.clear();
    const places = new Map(this.all.peek().map((one, i) => [one.id, i]));
    const { q: _, ...others } = this.search;
    const filtered = Object.values(others).some(Boolean);
    const moved = heard.filter(([id, change]) => {
      if (change === "deleted") return this.search.deleted && !places.has(id);
      return !places.has(id) && (change === "restored" ? !this.search.deleted : filtered);
    });
    if (moved.length > 0) return this.again();
    const known = heard.filter(
      ([id, change]) => places.has(id) && (change !== "deleted" || this.search.deleted),
    );
    for (const [from, to] of runs(known.map(([id]) => places.get(id) ?? 0))) {
      if (!(await this.reread(from, to))) return this.again();
    }
  }

  /** Whether it is known what became of each. */
  private async reread(from: number, to: number): Promise<boolean> {
    const list = this.all.peek();
    const asked = list
      .slice(from, to + 1)
      .map((one) => one.id)
      .filter((id) => !deleted.peek().has(id) || this.search.deleted);
    const answer = await this.page(this.search, to - from + 1, list[from - 1]?.id);
    if (!answer) return true; // it was said
    know(answer);
    const next = settled(this.all.peek(), asked, answer);
    if (next) this.all.value = next;
    return next !== null;
  }

  /** Read all that was read once more. */
  private async again(): Promise<void> {
    const many = this.all.peek().length;
    const found: Picture[] = [];
    let ended = false;
    while (!ended && found.length <= many) {
      const page = await this.page(this.search, PAGE, found.at(-1)?.id);
      if (!page) return;
      found.push(...page);
      ended = page.length < PAGE;
    }
    batch(() => {
      know(found);
      this.turn += 1;
      this.all.value = found;
      this.fresh.value = [];
      this.ended.value = ended;
    });
  }
}

const shelves = new Map<string, Shelf>();
/** How many searches are kept. */
const MOST = 4;

/** The pictures of a search, as far as they were read before. */
export function shelfOf(search: Search): Shelf {
  const key = keyOf(search);
  const shelf = shelves.get(key) ?? new Shelf(search);
  shelves.delete(key);
  shelves.set(key, shelf);
  const oldest = shelves.keys().next().value;
  if (shelves.size > MOST && oldest !== undefined) {
    shelves.get(oldest)?.close();
    shelves.delete(oldest);
  }
  return shelf;
}
