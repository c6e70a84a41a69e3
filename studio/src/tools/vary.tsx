/** Variations of a picture: what it means stays, and as much of the rest as one likes. */
import { t } from "../i18n";
import { asked, form, set } from "../state/form";
import { urlOf } from "../state/source";
import { Count } from "../ui/count";
import { Slider } from "../ui/field";
import { Picker } from "../ui/picker";
import { Settings } from "../ui/settings";
import { Original } from "./_parts/original";
import { JobList, ToolPage, useHanded, useSource } from "./_parts/page";
import type { Tool } from "./tool";

function Vary({ argument }: { argument: string }) {
  const fields = form("vary");
  useHanded("vary", fields);
  const [image, choose] = useSource("vary", argument, fields);
  const eta = Number(fields.value["eta"] ?? 0.8);
  return (
    <ToolPage
      title="vary.title"
      about="vary.about"
      label={t("vary.draw")}
      ask={image ? () => asked("vary", fields.value, { image }) : null}
      form={
        <>
          <Picker label={t("tools.picture")} value={image} onChange={choose} />
          <Slider
            label={t("vary.eta")}
            value={eta}
            minimum={0}
            maximum={1}
            help={t(closeness(eta))}
            onChange={(value) => set(fields, "eta", value)}
          />
          <p class="ends small soft" aria-hidden="true">
            <span>{t("vary.same")}</span>
            <span>{t("vary.meaning")}</span>
          </p>
          <Count tool="vary" fields={fields} />
          <Settings
            tool="vary"
            fields={fields.value}
            without={["n", "eta"]}
            onChange={(name, value) => set(fields, name, value)}
          />
        </>
      }
    >
      <JobList
        ability="vary"
        empty="vary.empty"
        before={({ inputs }) =>
          inputs["image"] && <Original url={urlOf(inputs["image"])} label={t("tools.original")} />
        }
      />
    </ToolPage>
  );
}

/** What an eta does, in words. */
export function closeness(eta: number) {
  if (eta === 0) return "vary.eta.none";
  if (eta < 0.5) return "vary.eta.little";
  return eta < 1 ? "vary.eta.much" : "vary.eta.all";
}

export const vary: Tool = {
  id: "vary",
  title: "vary.title",
  icon: "vary",
  group: "change",
  needs: "vary",
  View: Vary,
};
