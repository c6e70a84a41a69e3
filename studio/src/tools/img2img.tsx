/** A picture drawn again as a prompt says, from a sketch or a photo. */
import { t } from "../i18n";
import { asked, form, set } from "../state/form";
import { urlOf } from "../state/source";
import { Count } from "../ui/count";
import { Slider, Text } from "../ui/field";
import { Picker } from "../ui/picker";
import { Settings } from "../ui/settings";
import { Original } from "./_parts/original";
import { JobList, ToolPage, useHanded, useSource } from "./_parts/page";
import type { Tool } from "./tool";

function ImageToImage({ argument }: { argument: string }) {
  const fields = form("img2img");
  useHanded("img2img", fields);
  const [image, choose] = useSource("img2img", argument, fields);
  const prompt = String(fields.value["prompt"] ?? "");
  const strength = Number(fields.value["strength"] ?? 0.6);
  return (
    <ToolPage
      title="img2img.title"
      about="img2img.about"
      label={t("make.draw")}
      ask={image && prompt.trim() ? () => asked("img2img", fields.value, { image }) : null}
      form={
        <>
          <Picker label={t("tools.picture")} value={image} onChange={choose} />
          <Text
            label={t("img2img.prompt")}
            placeholder={t("img2img.placeholder")}
            value={prompt}
            onChange={(text) => set(fields, "prompt", text)}
          />
          <Slider
            label={t("img2img.strength")}
            value={strength}
            minimum={0}
            maximum={1}
            onChange={(value) => set(fields, "strength", value)}
          />
          <p class="ends small soft" aria-hidden="true">
            <span>{t("img2img.keeps")}</span>
            <span>{t("img2img.new")}</span>
          </p>
          <Count tool="img2img" fields={fields} />
          <Settings
            tool="img2img"
            fields={fields.value}
            without={["prompt", "n", "strength"]}
            onChange={(name, value) => set(fields, name, value)}
          />
        </>
      }
    >
      <JobList
        ability="img2img"
        empty="img2img.empty"
        before={({ inputs }) =>
          inputs["image"] && <Original url={urlOf(inputs["image"])} label={t("tools.original")} />
        }
      />
    </ToolPage>
  );
}

export const img2img: Tool = {
  id: "img2img",
  title: "img2img.title",
  icon: "img2img",
  group: "change",
  needs: "img2img",
  View: ImageToImage,
};
