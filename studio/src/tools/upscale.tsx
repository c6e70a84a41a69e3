/** A picture enlarged, compared with what it was. */
import type { Drawn, Job } from "../api/types";
import { t } from "../i18n";
import { asked, form, set } from "../state/form";
import { fileOf } from "../state/pictures";
import { urlOf } from "../state/source";
import { Picker } from "../ui/picker";
import { PictureCard } from "../ui/picture";
import { Settings } from "../ui/settings";
import { Compare } from "./_parts/compare";
import { JobShown, ToolPage, useHanded, useSource } from "./_parts/page";
import type { Tool } from "./tool";

function Upscale({ argument }: { argument: string }) {
  const fields = form("upscale");
  useHanded("upscale", fields);
  const [image, choose] = useSource("upscale", argument, fields);
  return (
    <ToolPage
      title="upscale.title"
      about="upscale.about"
      label={t("upscale.draw")}
      ask={image ? () => asked("upscale", fields.value, { image }) : null}
      form={
        <>
          <Picker label={t("tools.picture")} value={image} onChange={choose} />
          <Settings
            tool="upscale"
            fields={fields.value}
            without={["n"]}
            onChange={(name, value) => set(fields, name, value)}
          />
        </>
      }
    >
      <JobShown ability="upscale" empty="upscale.empty" result={compared} />
    </ToolPage>
  );
}

function compared(job: Job, pictures: readonly Drawn[]) {
  const [first] = pictures;
  if (!first) return null;
  const size = `${first.width} × ${first.height}`;
  return (
    <div class="stack">
      <Compare
        before={urlOf(job.inputs["image"] ?? "")}
        after={fileOf(first)}
        title={size}
        width={first.width}
        height={first.height}
      />
      <div class="row">
        <div class="kept-card">
          <PictureCard picture={first} label={t("picture.one", { prompt: size })} small />
        </div>
        <p class="soft small">{t("upscale.size", { size })}</p>
      </div>
    </div>
  );
}

export const upscale: Tool = {
  id: "upscale",
  title: "upscale.title",
  icon: "upscale",
  group: "change",
  needs: "upscale",
  View: Upscale,
};
