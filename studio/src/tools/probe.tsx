/** Which of several captions fits a picture best. */
import { useSignal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { api } from "../api/client";
import { t } from "../i18n";
import { model } from "../state/capabilities";
import { form, set } from "../state/form";
import { reason } from "../state/toasts";
import { Button } from "../ui/button";
import { Field } from "../ui/field";
import { Icon } from "../ui/icon";
import { Picker } from "../ui/picker";
import { captionsOf, MOST_CAPTIONS, percent, ranked, withCaptions } from "./_parts/captions";
import { Head, useSource } from "./_parts/page";
import type { Tool } from "./tool";

interface Answer {
  image: string;
  captions: readonly string[];
  shares: readonly number[];
}

function Probe({ argument }: { argument: string }) {
  const fields = form("probe", { captions: [] });
  const [image, choose] = useSource("probe", argument, fields);
  const captions = fields.value["captions"] as string[];
  const answer = useSignal<Answer | null>(null);
  const wrong = useSignal("");
  const [asking, begin] = useState(false);
  useEffect(() => {
    wrong.value = "";
  }, [image, captions, wrong]);
  const ask = async () => {
    begin(true);
    const body = { image, captions, model: model.value?.name };
    try {
      const told = await api.post<{ shares: Record<string, number> }>("v1/probe", body);
      const shares = captions.map((one) => told.shares[one] ?? 0);
      answer.value = { image, captions, shares };
    } catch (error) {
      wrong.value = reason(error);
    }
    begin(false);
  };
  const ready = image !== "" && captions.length > 1;
  return (
    <>
      <Head title="probe.title" about="probe.about" />
      <div class="tool">
        <div class="stack tool-form">
          <Picker label={t("tools.picture")} value={image} onChange={choose} />
          <Captions value={captions} onChange={(some) => set(fields, "captions", some)} />
          <Button
            kind="primary"
            label={t("probe.ask")}
            disabled={!ready || asking}
            onClick={() => void ask()}
          />
        </div>
        <div class="tool-result" aria-live="polite" aria-busy={asking}>
          {wrong.value && (
            <p class="banner bad" role="alert">
              {wrong.value}
            </p>
          )}
          {answer.value?.image === image && answer.value ? (
            <Bars answer={answer.value} />
          ) : (
            !wrong.value && <p class="empty">{t(asking ? "state.loading" : "probe.empty")}</p>
          )}
        </div>
      </div>
    </>
  );
}

interface CaptionsProps {
  value: readonly string[];
  onChange: (captions: string[]) => void;
}

function Captions({ value, onChange }: CaptionsProps) {
  const [typed, type] = useState("");
  const add = (text: string) => {
    onChange(withCaptions(value, text));
    type("");
  };
  const examples = t("probe.examples.list").split("|");
  return (
    <div class="stack">
      <Field label={t("probe.captions")} help={t("probe.captions.help", { most: MOST_CAPTIONS })}>
        {({ id, describedby }) => (
          <div class="pair">
            <textarea
              id={id}
              rows={1}
              aria-describedby={describedby}
              placeholder={t("probe.placeholder")}
              value={typed}
              onInput={(event) => {
                const text = event.currentTarget.value;
                if (captionsOf(text).length > 1)
                  add(text); // several lines were pasted
                else type(text);
              }}
              onKeyDown={(event) => {
                if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
                event.preventDefault();
                add(typed);
              }}
            />
            <Button
              bare
              icon="plus"
              label={t("probe.add")}
              disabled={!typed.trim()}
              onClick={() => add(typed)}
            />
          </div>
        )}
      </Field>
      {value.length > 0 && (
        <ul class="row" aria-label={t("probe.captions")}>
          {value.map((one) => (
            <li key={one}>
              <button
                type="button"
                class="chip"
                aria-label={t("probe.remove", { caption: one })}
                onClick={() => onChange(value.filter((other) => other !== one))}
              >
                {one}
                <Icon name="close" />
              </button>
            </li>
          ))}
        </ul>
      )}
      {value.length === 0 && (
        <div class="row">
          <span class="soft small">{t("make.examples")}</span>
          <button type="button" class="chip" onClick={() => onChange(examples)}>
            {examples.join(" · ")}
          </button>
        </div>
      )}
    </div>
  );
}

function Bars({ answer }: { answer: Answer }) {
  const found = ranked(answer.captions, answer.shares);
  const [best] = found;
  return (
    <div class="stack">
      <p class="probe-best">
        {best && t("probe.best", { caption: best.caption, percent: percent(best.share) })}
      </p>
      <ol class="bars">
        {found.map(({ caption, share }, i) => (
          <li key={caption} class={i === 0 ? "best" : ""}>
            <p class="row spread">
              <span class="bars-caption">{caption}</span>
              <span class="bars-share">{t("job.share", { percent: percent(share) })}</span>
            </p>
            <div class="bars-track" aria-hidden="true">
              <span style={{ width: `${Math.max(100 * share, 0.4)}%` }} />
            </div>
          </li>
        ))}
      </ol>
      <p class="soft small">{t("probe.says")}</p>
    </div>
  );
}

export const probe: Tool = {
  id: "probe",
  title: "probe.title",
  icon: "probe",
  group: "explore",
  needs: "probe",
  View: Probe,
};
