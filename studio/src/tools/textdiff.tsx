/** A picture changed by the difference between two captions. */
import type { Drawn, Job } from "../api/types";
import { t } from "../i18n";
import { asked, form, set } from "../state/form";
import { Slider, Text } from "../ui/field";
import { titleOf } from "../ui/job";
import { Picker } from "../ui/picker";
import { Settings } from "../ui/settings";
import { Film } from "./_parts/film";
import { JobShown, ToolPage, useHanded, useSource } from "./_parts/page";
import type { Tool } from "./tool";

function TextDiff({ argument }: { argument: string }) {
  const fields = form("textdiff");
  useHanded("textdiff", fields);
  const [image, choose] = useSource("textdiff", argument, fields);
  const { source = "", target = "" } = fields.value as Record<string, string | undefined>;
  const theta = Number(fields.value["theta"] ?? 0.5);
  const same = source.trim() !== "" && source.trim() === target.trim();
  const ready = image && source.trim() && target.trim() && !same;
  return (
    <ToolPage
      title="textdiff.title"
      about="textdiff.about"
      label={t("textdiff.draw")}
      ask={ready ? () => asked("textdiff", fields.value, { image }) : null}
      form={
        <>
          <Picker label={t("tools.picture")} value={image} onChange={choose} />
          <Text
            label={t("textdiff.source")}
            placeholder={t("textdiff.source.example")}
            value={source}
            onChange={(text) => set(fields, "source", text)}
          />
          <Text
            label={t("textdiff.target")}
            placeholder={t("textdiff.target.example")}
            value={target}
            wrong={same ? t("textdiff.same") : ""}
            onChange={(text) => set(fields, "target", text)}
          />
          <Slider
            label={t("textdiff.theta")}
            value={theta}
            minimum={0.05}
            maximum={1}
            help={t("textdiff.theta.help")}
            onChange={(value) => set(fields, "theta", value)}
          />
          <Slider
            label={t("film.count")}
            value={Number(fields.value["frames"] ?? 6)}
            minimum={2}
            maximum={16}
            step={1}
            onChange={(value) => set(fields, "frames", value)}
          />
          <Settings
            tool="textdiff"
            fields={fields.value}
            without={["source", "target", "theta", "frames"]}
            onChange={(name, value) => set(fields, name, value)}
          />
        </>
      }
    >
      <JobShown ability="textdiff" empty="textdiff.empty" result={changed} />
    </ToolPage>
  );
}

function changed(job: Job, frames: readonly Drawn[]) {
  const { source, target } = job.fields as { source: string; target: string };
  return (
    <Film
      key={job.id}
      frames={frames}
      title={titleOf(job)}
      from={`${t("tools.before")}: ${source}`}
      to={`${t("tools.after")}: ${target}`}
      plays={false}
    />
  );
}

export const textdiff: Tool = {
  id: "textdiff",
  title: "textdiff.title",
  icon: "textdiff",
  group: "change",
  needs: "textdiff",
  View: TextDiff,
};
