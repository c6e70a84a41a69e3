/** The tags and collections of one picture, or of many at once. */
import { useState } from "preact/hooks";
import type { Picture } from "../api/types";
import { t } from "../i18n";
import type { Marks } from "../state/pictures";
import { Button } from "../ui/button";
import { Icon } from "../ui/icon";
import { collections, counted, makeCollection, namesIn, suggested, tags } from "./marks";

interface Props {
  pictures: readonly Picture[];
  onMark: (marks: Marks) => void;
}

const MOST_SUGGESTED = 8;

export function Tags({ pictures, onMark }: Props) {
  const [typed, type] = useState("");
  const own = [...counted(pictures, "tags").keys()];
  const common = own.filter((name) => pictures.every((one) => one.tags.includes(name)));
  const near = suggested(tags.value, common, typed).slice(0, MOST_SUGGESTED);
  const add = (names: string[]) => {
    if (names.length > 0) onMark({ add_tags: names });
    type("");
  };
  return (
    <div class="stack tight">
      {own.length > 0 && (
        <ul class="row chips" aria-label={t("gallery.tags")}>
          {own.map((name) => (
            <li key={name} class="chip own">
              {name}
              <button
                type="button"
                class="take"
                aria-label={t("gallery.untag", { name })}
                onClick={() => onMark({ remove_tags: [name] })}
              >
                <Icon name="close" />
              </button>
            </li>
          ))}
        </ul>
      )}
      <form
        class="pair"
        onSubmit={(event) => {
          event.preventDefault();
          add(namesIn(typed));
        }}
      >
        <input
          type="text"
          aria-label={t("gallery.newTag")}
          placeholder={t("gallery.newTag")}
          maxLength={100}
          autocomplete="off"
          value={typed}
          onInput={(event) => type(event.currentTarget.value)}
        />
        <Button
          bare
          type="submit"
          icon="plus"
          label={t("gallery.addTag")}
          disabled={namesIn(typed).length === 0}
        />
      </form>
      {near.length > 0 && (
        <div class="row chips">
          {near.map((name) => (
            <button key={name} type="button" class="chip" onClick={() => add([name])}>
              <span class="hidden">{t("gallery.addTag")}: </span>
              {name}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

export function Collect({ pictures, onMark }: Props) {
  const [typed, type] = useState("");
  const within = counted(pictures, "collections");
  const make = async () => {
    const made = await makeCollection(typed);
    if (!made) return;
    type("");
    onMark({ add_collections: [made.id] });
  };
  return (
    <div class="stack tight">
      {collections.value.length > 0 && (
        <ul class="checks">
          {collections.value.map(({ id, name }) => {
            const some = within.get(id) ?? 0;
            const all = some > 0 && some === pictures.length;
            return (
              <li key={id}>
                <label class="check">
                  <input
                    type="checkbox"
                    checked={all}
                    indeterminate={some > 0 && !all}
                    onChange={() =>
                      onMark(all ? { remove_collections: [id] } : { add_collections: [id] })
                    }
                  />
                  {name}
                </label>
              </li>
            );
          })}
        </ul>
      )}
      <form
        class="pair"
        onSubmit={(event) => {
          event.preventDefault();
          void make();
        }}
      >
        <input
          type="text"
          aria-label={t("gallery.newCollection")}
          placeholder={t("gallery.newCollection")}
          maxLength={100}
          autocomplete="off"
          value={typed}
          onInput={(event) => type(event.currentTarget.value)}
        />
        <Button
          bare
          type="submit"
          icon="plus"
          label={t("gallery.makeCollection")}
          disabled={!typed.trim()}
        />
      </form>
    </div>
  );
}
