/** Keys that work everywhere but in what is typed into; `?` lists them. */
import { type Key, t } from "../i18n";
import { go, place } from "../router";
import { Dialog } from "./dialog";

interface Shortcut {
  keys: string;
  text: Key;
  run?: () => void;
}

/** Of the whole page. A tool's own are added by `also`. */
const EVERYWHERE: readonly Shortcut[] = [
  { keys: "?", text: "keys.list" },
  { keys: "/", text: "keys.prompt", run: toPrompt },
  { keys: "m", text: "keys.make", run: () => to("make") },
  { keys: "g", text: "keys.gallery", run: () => to("gallery") },
  { keys: "e", text: "keys.edit", run: () => to("edit") },
  { keys: "Esc", text: "keys.close" },
  { keys: "Enter", text: "keys.draw" },
  { keys: "Shift+Enter", text: "keys.line" },
  { keys: "↑ ↓", text: "keys.recall" },
];

const added: Shortcut[] = [];

/** List shortcuts of a tool, which handles them itself. */
export function also(...some: Shortcut[]): void {
  added.push(...some);
}

/** To a tool, unless it is there already: it may be at work on something. */
function to(tool: string): void {
  if (place.value.tool !== tool) go(tool);
}

function toPrompt(): void {
  document.querySelector<HTMLElement>("main textarea, main input[type=search]")?.focus();
}

export function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    target.closest("input, textarea, select, [contenteditable]") !== null
  );
}

/** Whether letters are typed there; a slider takes none. */
export function isText(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  const kind = target instanceof HTMLInputElement ? target.type : "";
  return target.matches("textarea, select, input") && kind !== "range" && kind !== "radio";
}

export function shortcuts(event: KeyboardEvent, list: () => void): void {
  const held = event.ctrlKey || event.metaKey || event.altKey;
  if (held || event.defaultPrevented || isTyping(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  const run = event.key === "?" ? list : EVERYWHERE.find((one) => one.keys === event.key)?.run;
  if (!run) return;
  event.preventDefault();
  run();
}

export function Shortcuts({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title={t("app.shortcuts")} onClose={onClose}>
      <dl class="keys">
        {[...EVERYWHERE, ...added].map(({ keys, text }) => (
          <div key={keys + text}>
            <dt>
              <kbd>{keys}</kbd>
            </dt>
            <dd>{t(text)}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
