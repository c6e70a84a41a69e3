/** Where one was in the list of a search: kept while the tab is open, over reloads too. */

export interface Spot {
  /** Of the first picture on the screen. */
  id: string;
  at: number;
  /** Pixels of its row that are above the screen. */
  above: number;
}

const PREFIX = "unclip.spot.";

export function spotOf(key: string): Spot | null {
  try {
    return JSON.parse(sessionStorage.getItem(PREFIX + key) ?? "null") as Spot | null;
  } catch {
    return null;
  }
}

export function keepSpot(key: string, spot: Spot | null): void {
  try {
    if (spot) sessionStorage.setItem(PREFIX + key, JSON.stringify(spot));
    else sessionStorage.removeItem(PREFIX + key);
  } catch {
    // Storage is full or refused: the list begins at its top.
  }
}
