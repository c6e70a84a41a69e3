/** Short messages at the page's edge, read aloud by screen readers; one may be undone. */
import { signal } from "@preact/signals";
import { ApiError } from "../api/client";
import { explained, t } from "../i18n";

export interface Toast {
  id: number;
  text: string;
  action?: { text: string; run: () => void };
}

export const toasts = signal<readonly Toast[]>([]);
let count = 0;

export function say(text: string, action?: Toast["action"]): void {
  count += 1;
  const toast: Toast = { id: count, text, ...(action ? { action } : {}) };
  toasts.value = [...toasts.value.slice(-2), toast];
  release(toast.id);
}

const timers = new Map<number, ReturnType<typeof setTimeout>>();

/** Keep a message while somebody is at it. */
export function hold(id: number): void {
  clearTimeout(timers.get(id));
  timers.delete(id);
}

/** From now on it may go, after a while. */
export function release(id: number): void {
  hold(id);
  const toast = toasts.peek().find((one) => one.id === id);
  const most = toast?.action ? 10_000 : 5_000;
  if (toast) timers.set(id, setTimeout(hush, most, id));
}

export function hush(id: number): void {
  hold(id);
  toasts.value = toasts.value.filter((one) => one.id !== id);
}

/** What went wrong, in the user's language where the page has words of its own. */
export function reason(error: unknown): string {
  if (!(error instanceof ApiError)) return String(error instanceof Error ? error.message : error);
  if (error.status === 0) return t("error.offline");
  if (error.status === 401) return t("error.login");
  if (error.code === "rate_limit_exceeded")
    return t("error.full", { seconds: error.retryAfter ?? 5 });
  return explained(error.code, error.message);
}

/** Run, and say what goes wrong. */
export async function attempt<T>(run: () => Promise<T>): Promise<T | null> {
  try {
    return await run();
  } catch (error) {
    say(reason(error));
    return null;
  }
}
