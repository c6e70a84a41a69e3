/** Who uses the page: nobody in particular, or the owner of a key. */
import { computed } from "@preact/signals";
import { api, session } from "../api/client";
import type { Session } from "../api/types";

export { session };

/** Whether the server can be asked: it wants no key, or there is a session. */
export const entered = computed(
  () => session.value !== null && (!session.value.needs_key || session.value.owner !== null),
);

export async function readSession(): Promise<void> {
  session.value = await api.get<Session>("v1/session");
}

export async function logIn(key: string): Promise<void> {
  session.value = await api.post<Session>("v1/session", { key });
}

export async function logOut(): Promise<void> {
  await api.delete("v1/session");
  await readSession();
}
