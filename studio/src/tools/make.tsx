/** A line to type in, four pictures, and what was drawn before. */
import { useSignal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { api } from "../api/client";
import type { Unknown } from "../api/types";
import { t } from "../i18n";
import { model } from "../state/capabilities";
import { asked, form, set } from "../state/form";
import { draw } from "../state/jobs";
import { keepPrompt } from "../state/recall";
import { ofSweeps } from "../state/sweep";
import { attempt } from "../state/toasts";
import { Button } from "../ui/button";
import { Count } from "../ui/count";
import { Dialog } from "../ui/dialog";
import { JobView } from "../ui/job";
import { Prompt } from "../ui/prompt";
import { Settings } from "../ui/settings";
import { jobsOf, useHanded } from "./_parts/page";
import { examplesOf, replaced } from "./_parts/words";
import type { Tool } from "./tool";

function Make() {
  const fields = form("make");
  useHanded("make", fields);
  const prompt = String(fields.value["prompt"] ?? "");
  const made = jobsOf("generate").filter((one) => !ofSweeps.value.has(one.id));
  const write = (text: string) => set(fields, "prompt", text);
  const submit = () => {
    if (!prompt.trim()) return;
    keepPrompt(prompt);
    void attempt(() => draw(asked("generate", fields.value)));
  };
  return (
    <div class="make">
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          submit();
        }}
      >
        {made.length === 0 && (
          <div class="welcome">
            <p class="welcome-title">{t("make.welcome")}</p>
            <p class="soft">{t("make.about")}</p>
          </div>
        )}
        <Prompt value={prompt} onChange={write} onSubmit={submit} />
        <Hint prompt={prompt} onChange={write} />
        {(made.length === 0 || !prompt) && <Examples onChoose={write} />}
        <div class="make-settings">
          <Count tool="make" fields={fields} />
          <Settings
            tool="generate"
            fields={fields.value}
            without={["prompt", "n"]}
            onChange={(name, value) => set(fields, name, value)}
          />
        </div>
      </form>
      <div class="made">
        {made.map((job) => (
          <JobView key={job.id} job={job} />
        ))}
      </div>
    </div>
  );
}

function Examples({ onChoose }: { onChoose: (text: string) => void }) {
  const texts = examplesOf(t("make.examples.list").split("|"), model.value?.words);
  return (
    <div class="row examples">
      <span class="soft small">{t("make.examples")}</span>
      {texts.slice(0, 6).map((one) => (
        <button key={one} type="button" class="chip" onClick={() => onChoose(one)}>
          {one}
        </button>
      ))}
      <Words onChoose={onChoose} />
    </div>
  );
}

/** All words that the model knows, where it lists them. */
function Words({ onChoose }: { onChoose: (text: string) => void }) {
  const [open, show] = useState(false);
  const [query, ask] = useState("");
  const words = model.value?.words ?? [];
  if (words.length === 0) return null;
  const found = words.filter((one) => one.includes(query.trim().toLowerCase()));
  return (
    <>
      <Button kind="plain" label={t("make.words")} onClick={() => show(true)} />
      {open && (
        <Dialog title={t("make.words.title", { n: words.length })} onClose={() => show(false)}>
          <div class="stack">
            <input
              type="search"
              aria-label={t("make.words.search")}
              placeholder={t("make.words.search")}
              value={query}
              onInput={(event) => ask(event.currentTarget.value)}
            />
            <div class="row words">
              {found.slice(0, 400).map((one) => (
                <button
                  key={one}
                  type="button"
                  class="chip"
                  onClick={() => {
                    onChoose(one);
                    show(false);
                  }}
                >
                  {one}
                </button>
              ))}
            </div>
          </div>
        </Dialog>
      )}
    </>
  );
}

interface HintProps {
  prompt: string;
  onChange: (text: string) => void;
}

/** Which words the model does not know, and known ones to put in their place. */
function Hint({ prompt, onChange }: HintProps) {
  const unknown = useSignal<readonly Unknown[]>([]);
  const name = model.value?.name;
  const lists = (model.value?.words?.length ?? 0) > 0;
  useEffect(() => {
    const timer = setTimeout(async () => {
      if (!prompt.trim() || !lists) {
        unknown.value = [];
        return;
      }
      try {
        const told = await api.post<{ unknown: Unknown[] }>("v1/words", { prompt, model: name });
        unknown.value = told.unknown;
      } catch {
        unknown.value = []; // a hint alone
      }
    }, 250);
    return () => clearTimeout(timer);
  }, [prompt, name, lists, unknown]);
  const shown = unknown.value.filter(({ word }) =>
    prompt.toLowerCase().includes(word.toLowerCase()),
  );
  return (
    <div class="hint" aria-live="polite">
      {shown.map(({ word, near }) => (
        <p key={word} class="row small">
          <span class="soft">{t("make.unknown", { word })}</span>
          {near.slice(0, 5).map((one) => (
            <button
              key={one}
              type="button"
              class="chip"
              aria-label={t("make.replace", { word, by: one })}
              onClick={() => onChange(replaced(prompt, word, one))}
            >
              {one}
            </button>
          ))}
        </p>
      ))}
    </div>
  );
}

export const make: Tool = {
  id: "make",
  title: "make.title",
  icon: "make",
  group: "create",
  needs: "generate",
  View: Make,
};
