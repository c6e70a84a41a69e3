/** Which rows of a long grid are drawn: those near the screen. All cells are of one size. */

export interface Grid {
  /** Cells. */
  count: number;
  columns: number;
  /** Pixels from a row's top to the next row's. */
  row: number;
}

/** How many columns of at least `least` pixels fit, and the side of a cell. */
export function columnsOf(width: number, least: number, gap: number): [number, number] {
  const columns = Math.max(1, Math.floor((width + gap) / (least + gap)));
  return [columns, Math.max(1, (width - gap * (columns - 1)) / columns)];
}

export function rowsOf({ count, columns }: Grid): number {
  return Math.ceil(count / columns);
}

/**
 * The first row and the one after the last that are drawn.
 * @param top pixels of the grid above the screen; negative where the grid begins below its top
 * @param height of the screen
 * @param more rows beyond each edge
 */
export function visible(grid: Grid, top: number, height: number, more = 2): [number, number] {
  const rows = rowsOf(grid);
  const first = Math.floor(top / grid.row) - more;
  const last = Math.ceil((top + height) / grid.row) + more;
  const start = Math.min(Math.max(0, first), Math.max(0, rows - 1));
  return [start, Math.min(rows, Math.max(start, last))];
}

/**
 * Where a key leads from a cell; null: it does not move.
 * @param page rows of a screen
 */
export function moved(grid: Grid, at: number, key: string, held: boolean, page: number) {
  const { count, columns } = grid;
  const column = at % columns;
  const up = (rows: number) => Math.max(column, at - rows * columns);
  const down = (rows: number) => {
    const rest = rowsOf(grid) - 1 - Math.floor(at / columns);
    return Math.min(count - 1, at + Math.min(rows, rest) * columns);
  };
  const keys: Record<string, () => number> = {
    ArrowLeft: () => Math.max(0, at - 1),
    ArrowRight: () => Math.min(count - 1, at + 1),
    ArrowUp: () => up(1),
    ArrowDown: () => down(1),
    PageUp: () => up(page),
    PageDown: () => down(page),
    Home: () => (held ? 0 : at - column),
    End: () => Math.min(count - 1, held ? count - 1 : at - column + columns - 1),
  };
  return count > 0 ? (keys[key]?.() ?? null) : null;
}

/** How far to scroll so that a cell's row is whole on the screen; 0 where it is. */
export function into(grid: Grid, at: number, top: number, height: number): number {
  const begin = Math.floor(at / grid.columns) * grid.row;
  if (begin < top) return begin - top;
  const end = begin + grid.row;
  return end > top + height ? Math.min(end - top - height, begin - top) : 0;
}
