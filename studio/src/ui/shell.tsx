/** The page around the tools: header, tools, messages, what is said aloud. */
import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { line } from "../api/events";
import { Drop } from "../gallery/drop";
import { LANGUAGES, type Language, language, speak, t } from "../i18n";
import mark from "../mark.svg";
import { href, place } from "../router";
import { can, capabilities } from "../state/capabilities";
import { open } from "../state/jobs";
import { kept } from "../state/kept";
import { entered, logOut, session } from "../state/session";
import { attempt } from "../state/toasts";
import { TOOLS } from "../tools";
import type { Tool } from "../tools/tool";
import { Button } from "./button";
import { Icon } from "./icon";
import { Login } from "./login";
import { Said } from "./said";
import { Shortcuts, shortcuts } from "./shortcuts";
import { Toasts } from "./toasts";

type Theme = "" | "light" | "dark";
export const theme = kept<Theme>("theme", "");

const scheme = matchMedia("(prefers-color-scheme: dark)");
const darkSystem = signal(scheme.matches);
scheme.addEventListener("change", () => {
  darkSystem.value = scheme.matches;
});

const GROUPS = ["create", "change", "explore", "keep"] as const;

export function Shell() {
  useEffect(() => {
    document.documentElement.lang = language.value;
    const tool = entered.value && TOOLS.find((one) => one.id === place.value.tool);
    document.title = tool ? `${t(tool.title)} · ${t("app.name")}` : t("app.name");
  }, [language.value, place.value.tool, entered.value]);
  useEffect(() => {
    document.documentElement.dataset["theme"] = theme.value;
  }, [theme.value]);
  if (session.value === null) return <Start />;
  return (
    <div class="shell">
      <button type="button" class="skip" onClick={toContent}>
        {t("app.skip")}
      </button>
      <Header />
      {entered.value ? <Entered /> : <Login />}
      {entered.value && <Drop />}
      <Toasts />
      <Said />
    </div>
  );
}

function toContent(): void {
  document.getElementById("main")?.focus();
}

function Start() {
  return (
    <p class="main soft" role="status">
      {t(line.value === "broken" ? "state.offline" : "state.loading")}
    </p>
  );
}

function Entered() {
  const here = place.value;
  const main = useRef<HTMLElement>(null);
  const tool = TOOLS.find((one) => one.id === here.tool) ?? TOOLS[0];
  const first = useRef(true);
  useEffect(() => {
    if (!first.current) main.current?.focus();
    first.current = false;
    scrollTo(0, 0);
  }, [here.tool]);
  return (
    <>
      <Nav current={tool?.within ?? tool?.id ?? ""} />
      <main class="main" id="main" tabIndex={-1} ref={main}>
        {line.value === "broken" && (
          <p class="banner bad" role="alert">
            {t("state.offline")}
          </p>
        )}
        {tool && (
          <>
            <h1 class="hidden">{t(tool.title)}</h1>
            <tool.View key={tool.id} argument={here.argument} />
          </>
        )}
      </main>
    </>
  );
}

function Nav({ current }: { current: string }) {
  const box = useRef<HTMLElement>(null);
  // On a phone the list is wider than the screen. Only the list moves, not the page.
  useEffect(() => {
    const list = box.current;
    const link = list?.querySelector<HTMLElement>("[aria-current]");
    if (!list || !link) return;
    list.scrollLeft = link.offsetLeft - (list.clientWidth - link.offsetWidth) / 2;
  }, [current, capabilities.value]);
  return (
    <nav class="nav" aria-label={t("app.tools")} ref={box}>
      <div>
        {GROUPS.map((group) => {
          const own = TOOLS.filter((one) => one.group === group && isOffered(one));
          if (own.length === 0) return null;
          return (
            <section key={group}>
              <h2>{t(`nav.${group}`)}</h2>
              <ul>
                {own.map((one) => (
                  <li key={one.id}>
                    <a href={href(one.id)} aria-current={one.id === current ? "page" : undefined}>
                      <Icon name={one.icon} />
                      {t(one.title)}
                    </a>
                  </li>
                ))}
              </ul>
            </section>
          );
        })}
      </div>
    </nav>
  );
}

function isOffered(tool: Tool): boolean {
  return !tool.within && (tool.needs === undefined || can(tool.needs));
}

function Header() {
  const [listed, list] = useState(false);
  useEffect(() => {
    const keys = (event: KeyboardEvent) => shortcuts(event, () => list(true));
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  }, []);
  const dark = (theme.value || (darkSystem.value ? "dark" : "light")) === "dark";
  const other: Language = language.value === "en" ? "zh" : "en";
  return (
    <header class="header">
      <a class="brand grow" href={href("make")}>
        <img src={mark} alt="" width={26} height={26} />
        {t("app.name")}
      </a>
      {place.value.tool !== "make" && open.value.length > 0 && (
        <a
          class="badge"
          href={href("make")}
          aria-label={t("job.waiting", { n: open.value.length })}
        >
          <span class="dot" aria-hidden="true" />
          {open.value.length}
        </a>
      )}
      <Button
        kind="plain"
        icon="globe"
        label={LANGUAGES[other].name}
        onClick={() => speak(other)}
      />
      <Button
        bare
        kind="plain"
        icon={dark ? "sun" : "moon"}
        label={t(dark ? "app.theme.light" : "app.theme.dark")}
        onClick={() => {
          theme.value = dark ? "light" : "dark";
        }}
      />
      <Button
        bare
        kind="plain"
        icon="help"
        shortcut="?"
        label={t("app.shortcuts")}
        onClick={() => list(true)}
      />
      {session.value?.needs_key && entered.value && (
        <Button
          bare
          kind="plain"
          icon="out"
          label={t("login.out")}
          onClick={() => void attempt(logOut)}
        />
      )}
      {listed && <Shortcuts onClose={() => list(false)} />}
    </header>
  );
}
