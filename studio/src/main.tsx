import { effect } from "@preact/signals";
import { render } from "preact";
import { follow, line, stop } from "./api/events";
import { readCapabilities } from "./state/capabilities";
import { entered, readSession } from "./state/session";
import { attempt } from "./state/toasts";
import { Shell } from "./ui/shell";

const RETRY_MS = 2000;

async function start(): Promise<void> {
  try {
    await readSession();
  } catch {
    line.value = "broken";
    setTimeout(start, RETRY_MS);
  }
}

// What the page knows is read when it may be: at once, or after a login.
effect(() => {
  if (!entered.value) return stop();
  void attempt(readCapabilities);
  follow();
});

const root = document.getElementById("app");
if (root) render(<Shell />, root);
void start();
