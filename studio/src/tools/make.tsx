/** A line to type in, four pictures, and what was drawn before. */
import { useSignal, useSignalEffect } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api } from "../api/client";
import type { Unknown } from "../api/types";
import { t } from "../i18n";
import { model } from "../state/capabilities";
import { asked, form, handed, set } from "../state/form";
import { draw, jobs } from "../state/jobs";
import { keepPrompt } from "../state/recall";
import { attempt } from "../state/toasts";
import { Segments } from "../ui/field";
import { JobView } from "../ui/job";
import { Prompt } from "../ui/prompt";
import { Settings } from "../ui/settings";
import type { Tool } from "./tool";

const EXAMPLES = [
  "a fox",
  "a blue butterfly",
  "a rocket above a house",
  "three red apples",
  "a cat on a green background",
  "一只企鹅",
];
const COUNTS = ["1", "2", "4", "8"] as const;

function Make() {
  const fields = form("make", { prompt: "", n: 4 });
  const prompt = String(fields.value["prompt"] ?? "");
  const made = jobs.value.filter((one) => one.ability === "generate");
  useSignalEffect(() => {
    if (handed.value?.tool !== "make") return;
    fields.value = { prompt: "", n: 4, ...handed.value.fields };
    handed.value = null;
  });
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
        <Prompt value={prompt} onChange={(text) => set(fields, "prompt", text)} onSubmit={submit} />
        <Hint prompt={prompt} />
        {made.length === 0 && <Examples onChoose={(text) => set(fields, "prompt", text)} />}
        <div class="make-settings">
          <Segments
            label={t("make.count")}
            value={String(fields.value["n"] ?? 4)}
            options={COUNTS.map((one) => [one, one] as const)}
            onChange={(n) => set(fields, "n", Number(n))}
          />
          <Settings
            tool="generate"
            fields={fields.value}
            without={["prompt", "n"]}
            onChange={(name, value) => set(fields, name, value)}
          />
        </div>
      </form>
      <div class="made">
        {made.length === 0 && <p class="empty">{t("make.empty")}</p>}
        {made.map((job) => (
          <JobView key={job.id} job={job} />
        ))}
      </div>
    </div>
  );
}

function Examples({ onChoose }: { onChoose: (text: string) => void }) {
  return (
    <div class="row">
      <span class="soft small">{t("make.examples")}</span>
      {EXAMPLES.map((one) => (
        <button key={one} type="button" class="chip" onClick={() => onChoose(one)}>
          {one}
        </button>
      ))}
    </div>
  );
}

/** Which words the model does not know, and some that it does. */
function Hint({ prompt }: { prompt: string }) {
  const unknown = useSignal<readonly Unknown[]>([]);
  const name = model.value?.name;
  useEffect(() => {
    const timer = setTimeout(async () => {
      if (!prompt.trim()) {
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
  }, [prompt, name, unknown]);
  const near = unknown.value.flatMap((one) => one.near);
  return (
    <p class="soft small" aria-live="polite">
      {unknown.value.length > 0 &&
        t("make.unknown", { words: unknown.value.map((one) => one.word).join(", ") })}{" "}
      {near.length > 0 && t("make.near", { words: near.slice(0, 12).join(", ") })}
    </p>
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
