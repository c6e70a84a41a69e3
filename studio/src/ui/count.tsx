/** How many pictures a tool draws. */
import type { Signal } from "@preact/signals";
import type { Fields } from "../api/types";
import { t } from "../i18n";
import { defaultOf, set } from "../state/form";
import { Segments } from "./field";

const COUNTS = [1, 2, 4, 8];

/** Those to choose from; a job that is drawn again may have had another. */
export function countsWith(n: number): string[] {
  return [...new Set([...COUNTS, n])].sort((a, b) => a - b).map(String);
}

/** What is shown is what is drawn: without a number of its own, the server's. */
export function Count({ tool, fields }: { tool: string; fields: Signal<Fields> }) {
  const n = Number(fields.value["n"] ?? defaultOf(tool, "n") ?? 1);
  return (
    <Segments
      label={t("make.count")}
      value={String(n)}
      options={countsWith(n).map((one) => [one, one] as const)}
      onChange={(one) => set(fields, "n", Number(one))}
    />
  );
}
