/** The way from one picture or prompt to another, as a film. */
import type { Signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Asked, Drawn, Fields, Job } from "../api/types";
import { t } from "../i18n";
import { replace } from "../router";
import { asked, form, set } from "../state/form";
import type { SourceId } from "../state/source";
import { Button } from "../ui/button";
import { Segments, Text } from "../ui/field";
import { titleOf } from "../ui/job";
import { Picker } from "../ui/picker";
import { Settings } from "../ui/settings";
import { Film } from "./_parts/film";
import { JobShown, ToolPage, useHanded } from "./_parts/page";
import type { Tool } from "./tool";

type Kind = "picture" | "prompt";

interface End {
  kind: Kind;
  picture: SourceId;
  prompt: string;
}

const FRAMES = ["8", "16", "24", "32"] as const;

function Interpolate({ argument }: { argument: string }) {
  const fields = form("interpolate");
  useHanded("interpolate", fields, endsOf);
  useEffect(() => {
    if (!argument) return;
    fields.value = { ...fields.peek(), aKind: "picture", aPicture: argument };
    replace("interpolate"); // it is taken: a reload must not put it over what is chosen later
  }, [argument, fields]);
  const ends = { a: endOf("a", fields.value), b: endOf("b", fields.value) };
  const ready = isGiven(ends.a) && isGiven(ends.b);
  return (
    <ToolPage
      title="interpolate.title"
      about="interpolate.about"
      label={t("interpolate.draw")}
      ask={ready ? () => request(fields.value, ends.a, ends.b) : null}
      form={
        <>
          <EndField name="a" end={ends.a} fields={fields} />
          <div class="row swap">
            <Button
              bare
              icon="swap"
              label={t("interpolate.swap")}
              onClick={() => {
                fields.value = { ...fields.value, ...swapped(fields.value) };
              }}
            />
          </div>
          <EndField name="b" end={ends.b} fields={fields} />
          <Segments
            label={t("film.count")}
            value={String(fields.value["frames"] ?? 16)}
            options={FRAMES.map((one) => [one, one] as const)}
            onChange={(value) => set(fields, "frames", Number(value))}
          />
          <Segments
            label={t("interpolate.noise")}
            value={String(fields.value["noise"] ?? "slerp")}
            options={[
              ["slerp", t("interpolate.slerp")],
              ["fixed", t("interpolate.fixed")],
            ]}
            onChange={(value) => set(fields, "noise", value)}
          />
          <p class="help small soft">
            {t(
              fields.value["noise"] === "fixed"
                ? "interpolate.fixed.help"
                : "interpolate.slerp.help",
            )}
          </p>
          <Settings
            tool="interpolate"
            fields={fields.value}
            without={["a", "b", "frames", "noise"]}
            onChange={(name, value) => set(fields, name, value)}
          />
        </>
      }
    >
      <JobShown ability="interpolate" empty="interpolate.empty" result={film} />
    </ToolPage>
  );
}

interface EndProps {
  name: "a" | "b";
  end: End;
  fields: Signal<Fields>;
}

function EndField({ name, end, fields }: EndProps) {
  return (
    <fieldset class="stack end">
      <Segments
        label={t(`interpolate.${name}`)}
        value={end.kind}
        options={[
          ["picture", t("tools.picture")],
          ["prompt", t("make.prompt")],
        ]}
        onChange={(kind) => set(fields, `${name}Kind`, kind)}
      />
      {end.kind === "picture" ? (
        <Picker
          label={t(`interpolate.${name}.picture`)}
          value={end.picture}
          onChange={(id) => set(fields, `${name}Picture`, id)}
        />
      ) : (
        <Text
          label={t(`interpolate.${name}.prompt`)}
          placeholder={t(`interpolate.${name}.example`)}
          value={end.prompt}
          onChange={(text) => set(fields, `${name}Prompt`, text)}
        />
      )}
    </fieldset>
  );
}

export function endOf(name: "a" | "b", fields: Fields): End {
  const read = (part: string) => String(fields[name + part] ?? "");
  const kind = read("Kind") === "picture" ? "picture" : "prompt";
  return { kind, picture: read("Picture"), prompt: read("Prompt") };
}

function isGiven(end: End): boolean {
  return (end.kind === "picture" ? end.picture : end.prompt.trim()) !== "";
}

/** The fields of the two ends, changed for each other. */
export function swapped(fields: Fields): Fields {
  const parts = ["Kind", "Picture", "Prompt"];
  return Object.fromEntries(
    parts.flatMap((part) => [
      [`a${part}`, fields[`b${part}`]],
      [`b${part}`, fields[`a${part}`]],
    ]),
  );
}

/** Of a job that was asked before. */
function endsOf({ a, b, ...others }: Fields, inputs: Record<string, string>): Fields {
  const end = (name: "a" | "b", text: unknown) =>
    inputs[name]
      ? { [`${name}Kind`]: "picture", [`${name}Picture`]: inputs[name] }
      : { [`${name}Kind`]: "prompt", [`${name}Prompt`]: text };
  return { ...others, ...end("a", a), ...end("b", b) };
}

function request(fields: Fields, a: End, b: End): Asked {
  const texts: Fields = {};
  const inputs: Record<string, string> = {};
  for (const [name, end] of [["a", a] as const, ["b", b] as const]) {
    if (end.kind === "picture") inputs[name] = end.picture;
    else texts[name] = end.prompt.trim();
  }
  return asked("interpolate", { ...fields, ...texts }, inputs);
}

function film(job: Job, frames: readonly Drawn[]) {
  const { a, b } = job.fields as { a?: string; b?: string };
  return (
    <Film
      key={job.id}
      frames={frames}
      title={titleOf(job)}
      from={a ?? t("job.picture")}
      to={b ?? t("job.picture")}
      plays
    />
  );
}

export const interpolate: Tool = {
  id: "interpolate",
  title: "interpolate.title",
  icon: "interpolate",
  group: "explore",
  needs: "interpolate",
  View: Interpolate,
};
