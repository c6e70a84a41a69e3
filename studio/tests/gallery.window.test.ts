import { describe, expect, it } from "vitest";
import { columnsOf, type Grid, into, moved, rowsOf, visible } from "../src/gallery/window";

/** Numbers that look random and are the same in each run. */
function numbers(seed: number): (most: number) => number {
  let state = seed + 1;
  return (most) => {
    state = (state * 1103515245 + 12345) % 2 ** 31;
    return Math.floor((state / 2 ** 31) * most);
  };
}

const CASES = Array.from({ length: 400 }, (_, seed) => {
  const any = numbers(seed);
  const grid: Grid = { count: any(12_000), columns: 1 + any(12), row: 40 + any(300) };
  return { grid, any };
});

describe("columnsOf", () => {
  it("fills the width, with cells of at least the least side", () => {
    for (const { any } of CASES) {
      const [width, least, gap] = [1 + any(3000), 20 + any(300), any(30)];
      const [columns, side] = columnsOf(width, least, gap);
      expect(columns * side + (columns - 1) * gap).toBeCloseTo(width);
      if (width >= least) expect(side).toBeGreaterThanOrEqual(least - 1e-9);
      expect((columns + 1) * least + columns * gap).toBeGreaterThan(width);
    }
  });
});

describe("visible", () => {
  it("has each row that meets the screen, and few others", () => {
    for (const { grid, any } of CASES) {
      const height = 200 + any(2000);
      const top = any(rowsOf(grid) * grid.row + 2000) - 1000;
      const [first, last] = visible(grid, top, height, 2);
      expect(first).toBeGreaterThanOrEqual(0);
      expect(last).toBeLessThanOrEqual(rowsOf(grid));
      expect(last - first).toBeLessThanOrEqual(Math.ceil(height / grid.row) + 6);
      for (let row = 0; row < rowsOf(grid); row += 1) {
        const meets = (row + 1) * grid.row > top && row * grid.row < top + height;
        if (meets) expect(row >= first && row < last).toBe(true);
      }
    }
  });

  it("has nothing of nothing", () => {
    expect(visible({ count: 0, columns: 4, row: 100 }, 0, 800)).toEqual([0, 0]);
  });
});

describe("moved", () => {
  const KEYS = [
    "ArrowLeft",
    "ArrowRight",
    "ArrowUp",
    "ArrowDown",
    "PageUp",
    "PageDown",
    "Home",
    "End",
  ];

  it("leads to a cell that is there; up and down keep the column where there is one", () => {
    for (const { grid, any } of CASES.filter((one) => one.grid.count > 0)) {
      const at = any(grid.count);
      for (const key of KEYS) {
        const to = moved(grid, at, key, any(2) === 1, 1 + any(6)) ?? -1;
        expect(to).toBeGreaterThanOrEqual(0);
        expect(to).toBeLessThan(grid.count);
        const vertical = key.includes("Up") || key.includes("Down");
        if (vertical && to !== grid.count - 1) expect(to % grid.columns).toBe(at % grid.columns);
      }
    }
  });

  it.each([
    ["ArrowLeft", 0, false, 0],
    ["ArrowRight", 3, false, 4],
    ["ArrowRight", 9, false, 9],
    ["ArrowUp", 1, false, 1],
    ["ArrowDown", 6, false, 9], // the last row is shorter
    ["ArrowDown", 9, false, 9],
    ["Home", 6, false, 4],
    ["End", 4, false, 7],
    ["End", 8, false, 9],
    ["Home", 6, true, 0],
    ["End", 1, true, 9],
    ["PageDown", 1, false, 9],
    ["PageUp", 9, false, 1],
  ] as const)("%s from %i (Ctrl: %s) leads to %i, of ten in rows of four", (key, at, held, to) => {
    expect(moved({ count: 10, columns: 4, row: 100 }, at, key, held, 2)).toBe(to);
  });

  it("leaves other keys alone", () => {
    expect(moved({ count: 10, columns: 4, row: 100 }, 0, "x", false, 2)).toBeNull();
    expect(moved({ count: 0, columns: 4, row: 100 }, 0, "ArrowDown", false, 2)).toBeNull();
  });
});

it("into scrolls just so far that the row is on the screen", () => {
  for (const { grid, any } of CASES.filter((one) => one.grid.count > 0)) {
    const [at, height] = [any(grid.count), grid.row + any(1500)];
    const top = any(rowsOf(grid) * grid.row);
    const by = into(grid, at, top, height);
    const begin = Math.floor(at / grid.columns) * grid.row - (top + by);
    expect(begin).toBeGreaterThanOrEqual(0);
    expect(begin + grid.row).toBeLessThanOrEqual(height);
    expect(into(grid, at, top + by, height)).toBe(0);
  }
});
