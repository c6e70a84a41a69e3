/** A drawn picture as a card: opened by its link, with what is done most often over it. */
import type { Drawn } from "../api/types";
import { t } from "../i18n";
import { href } from "../router";
import { can } from "../state/capabilities";
import { deleted, download, favour, favourites, remove, thumbnailOf } from "../state/pictures";
import { Button } from "./button";
import { Icon } from "./icon";

interface Props {
  picture: Drawn;
  label: string;
  /** A small copy will do: the gallery has many. */
  small?: boolean;
}

export function PictureCard({ picture, label, small = false }: Props) {
  if (deleted.value.has(picture.id)) return null;
  const favourite = favourites.value[picture.id] ?? false;
  return (
    <figure class="card">
      <a href={href("picture", picture.id)}>
        <img
          src={thumbnailOf(picture, small ? 256 : 512)}
          width={picture.width}
          height={picture.height}
          alt={label}
          loading="lazy"
          decoding="async"
        />
      </a>
      <div class="over">
        <Button
          bare
          icon="star"
          filled={favourite}
          pressed={favourite}
          label={t(favourite ? "action.unfavourite" : "action.favourite")}
          onClick={() => void favour(picture.id)}
        />
        {can("vary") && <Go tool="vary" id={picture.id} />}
        {can("edit") && <Go tool="edit" id={picture.id} />}
        <Button
          bare
          icon="download"
          label={t("action.download")}
          onClick={() => download(picture)}
        />
        <Button
          bare
          icon="trash"
          label={t("action.delete")}
          onClick={() => void remove(picture.id)}
        />
      </div>
    </figure>
  );
}

function Go({ tool, id }: { tool: "vary" | "edit"; id: string }) {
  const label = t(`action.${tool}`);
  return (
    <a class="button icon" href={href(tool, id)} aria-label={label} title={label}>
      <Icon name={tool} />
    </a>
  );
}
