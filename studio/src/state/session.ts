/** Who uses the page: nobody in particular, or the owner of a key. */
import { computed } from "@preact/signals";
import { api, session } from "../api/client";
import type { Session } from "../api/types";
import { forgetAll, forgetTab, freeze, kept, PREFIX } from "./kept";

export { session };

/** Whether the server can be asked: it wants no key, or there is a session. */
export const entered = computed(
  () => session.value !== null && (!session.value.needs_key || session.value.owner !== null),
);

export async function readSession(): Promise<void> {
  session.value = await api.get<Session>("v1/session");
}

/** Who was here last. */
const last = kept<string>("owner", "");
const ownerKey = `${PREFIX}owner`;

export async function logIn(key: string): Promise<void> {
  const told = await api.post<Session>("v1/session", { key });
  const other = last.value !== "" && last.value !== told.owner;
  if (other) forgetAll();
  last.value = told.owner ?? "";
  if (other) leave();
  else session.value = told;
}

/** End the session; the next who uses the browser finds nothing of it. */
export async function logOut(): Promise<void> {
  await api.delete("v1/session");
  forgetAll();
  leave();
}

/** Begin anew, with nothing of who was here. */
function leave(): void {
  freeze();
  location.reload();
}

// Another tab tells that somebody else is here now, or nobody: this one forgets what it shows.
addEventListener("storage", ({ key, newValue }) => {
  if (key !== null && key !== ownerKey) return;
  if (ownerIn(newValue) === last.peek()) return;
  forgetTab();
  leave();
});

function ownerIn(text: string | null): string {
  try {
    return String(JSON.parse(text ?? '""'));
  } catch {
    return "";
  }
}
