/** Links by which a picture goes on: those for which the model has the ability. */
import { t } from "../i18n";
import { href } from "../router";
import { can } from "../state/capabilities";
import { Icon } from "../ui/icon";

const SEND = [
  "vary",
  "edit",
  "outpaint",
  "interpolate",
  "textdiff",
  "img2img",
  "upscale",
  "probe",
] as const;

export function SendTo({ id }: { id: string }) {
  const able = SEND.filter((tool) => can(tool));
  return (
    <ul class="send">
      {able.map((tool) => (
        <li key={tool}>
          <a href={href(tool, id)}>
            <Icon name={tool} />
            {t(`send.${tool}`)}
          </a>
        </li>
      ))}
    </ul>
  );
}
