import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Picture } from "../src/api/types";
import { EVERYTHING, type Search } from "../src/gallery/search";
import { runs, Shelf, settled } from "../src/gallery/shelf";
import { changes, deleted, favourites, told } from "../src/state/pictures";

function picture(number: number, more: Partial<Picture> = {}): Picture {
  return {
    ...{ id: `p${number}`, seed: number, width: 64, height: 64, format: "png", bytes: 1, url: "" },
    ...{ file: "", job: "j", ability: "generate", fields: {}, inputs: {}, model: "" },
    ...{
      created: number,
      favourite: false,
      tags: [],
      collections: [],
      deleted: 0,
      native: [256, 256],
    },
    ...more,
  };
}

/** A server with pictures, newest first, as the API answers. */
class House {
  all: Picture[];
  asked = 0;
  constructor(number: number) {
    this.all = Array.from({ length: number }, (_, i) => picture(number - i));
  }
  read = async (search: Search, limit: number, before?: string) => {
    this.asked += 1;
    const last = before ? Number(before.slice(1)) : Number.POSITIVE_INFINITY;
    return this.all
      .filter((one) => !one.deleted && (!search.favourites || one.favourite))
      .filter((one) => Number(one.id.slice(1)) < last)
      .slice(0, limit);
  };
  set(id: string, more: Partial<Picture>) {
    this.all = this.all.map((one) => (one.id === id ? { ...one, ...more } : one));
  }
}

const ids = (some: readonly Picture[]) => some.map((one) => one.id);
let shelf: Shelf;

beforeEach(() => {
  vi.useFakeTimers();
  deleted.value = new Set();
  favourites.value = {};
});

afterEach(() => {
  shelf?.close();
  vi.useRealTimers();
});

it("pages follow one another without a gap, to the end", async () => {
  const house = new House(1234);
  shelf = new Shelf(EVERYTHING, house.read);
  expect(await shelf.until(() => false)).toBe(true);
  expect(ids(shelf.pictures.value)).toEqual(ids(house.all));
  expect(shelf.ended.value).toBe(true);
});

it("a page that is being read is not asked for twice", async () => {
  const house = new House(500);
  shelf = new Shelf(EVERYTHING, house.read);
  await Promise.all([shelf.more(), shelf.more(), shelf.more()]);
  expect(house.asked).toBe(1);
});

it("a server that does not answer ends the reading, not the list", async () => {
  shelf = new Shelf(EVERYTHING, async () => null);
  expect(await shelf.until(() => false)).toBe(false);
  expect(shelf.ended.value).toBe(false);
});

it("new pictures wait until they are let in, each once", async () => {
  const house = new House(300);
  shelf = new Shelf(EVERYTHING, house.read);
  await shelf.more();
  const before = ids(shelf.pictures.value);
  house.all = [picture(302), picture(301), ...house.all];
  changes.value += 1;
  await vi.runAllTimersAsync();
  await shelf.refresh();
  expect(ids(shelf.pictures.value)).toEqual(before);
  expect(ids(shelf.fresh.value)).toEqual(["p302", "p301"]);
  shelf.merge();
  expect(ids(shelf.pictures.value)).toEqual(["p302", "p301", ...before]);
  expect(shelf.fresh.value).toEqual([]);
});

it("deleted pictures go at once, and come back in their place", async () => {
  const house = new House(150);
  shelf = new Shelf(EVERYTHING, house.read);
  await shelf.until(() => false);
  told(["p100", "p99"], "deleted");
  expect(ids(shelf.pictures.value)).not.toContain("p100");
  expect(shelf.pictures.value.length).toBe(148);
  told(["p100", "p99"], "restored");
  await vi.runAllTimersAsync();
  expect(ids(shelf.pictures.value)).toEqual(ids(house.all));
});

it("what is no longer a favourite leaves the favourites; what becomes one appears", async () => {
  const house = new House(40);
  house.all = house.all.map((one, i) => ({ ...one, favourite: i % 2 === 0 }));
  shelf = new Shelf({ ...EVERYTHING, favourites: true }, house.read);
  await shelf.more();
  house.set("p38", { favourite: false });
  told(["p38"], "changed");
  await vi.runAllTimersAsync();
  expect(ids(shelf.pictures.value)).not.toContain("p38");
  expect(shelf.pictures.value.length).toBe(19);
  house.set("p33", { favourite: true });
  told(["p33"], "changed");
  await vi.runAllTimersAsync();
  expect(ids(shelf.pictures.value)).toEqual(ids(house.all.filter((one) => one.favourite)));
});

it("many changes at once are read by pages, not one by one", async () => {
  const house = new House(600);
  shelf = new Shelf(EVERYTHING, house.read);
  await shelf.until(() => false);
  const before = house.asked;
  for (let i = 1; i <= 400; i += 1) {
    house.set(`p${i}`, { favourite: true });
    told([`p${i}`], "changed");
  }
  await vi.runAllTimersAsync();
  expect(house.asked - before).toBeLessThanOrEqual(3);
  expect(favourites.value["p1"]).toBe(true);
  expect(shelf.pictures.value.filter((one) => one.favourite).length).toBe(400);
});

describe("settled", () => {
  const list = [5, 4, 3, 2, 1].map((i) => picture(i));
  const page = (...numbers: number[]) => numbers.map((i) => picture(i, { favourite: true }));

  it.each([
    ["changed", ["p4", "p3"], page(4, 3), ["p5", "p4", "p3", "p2", "p1"]],
    ["one is gone", ["p4", "p3"], page(3, 2), ["p5", "p3", "p2", "p1"]],
    ["the last is gone, and the next page begins", ["p1"], page(0), ["p5", "p4", "p3", "p2"]],
    ["all are gone", ["p4", "p3"], [], ["p5", "p2", "p1"]],
  ])("%s", (_, asked, answer, left) => {
    expect(ids(settled(list, asked, answer) ?? [])).toEqual(left);
  });

  it("cannot tell where another came in between", () => {
    expect(
      settled(
        [5, 3, 2].map((i) => picture(i)),
        ["p3"],
        page(4),
      ),
    ).toBeNull();
  });
});

it("runs hold all places, none longer than a page", () => {
  expect(runs([])).toEqual([]);
  expect(runs([5, 3, 4, 900], 200)).toEqual([
    [3, 5],
    [900, 900],
  ]);
  const all = runs(
    Array.from({ length: 1000 }, (_, i) => 1000 - i),
    200,
  );
  expect(all.length).toBe(5);
  for (const [from, to] of all) expect(to - from).toBeLessThan(200);
});

it("a list that is read anew while its next page comes holds each picture once", async () => {
  const house = new House(450);
  let later = () => {};
  let slow = false;
  const read = async (search: Search, limit: number, before?: string) => {
    const page = await house.read(search, limit, before);
    if (slow && before) {
      slow = false;
      await new Promise<void>((resolve) => {
        later = resolve;
      });
    }
    return page;
  };
  shelf = new Shelf(EVERYTHING, read);
  await shelf.more();
  slow = true;
  const next = shelf.more();
  await vi.advanceTimersByTimeAsync(0);
  told(["p1"], "restored"); // it is not known here: all is read again
  await vi.advanceTimersByTimeAsync(500);
  later();
  await next;
  await shelf.until(() => false);
  expect(ids(shelf.pictures.value)).toEqual(ids(house.all));
});
