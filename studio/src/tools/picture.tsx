/** One picture: large, how it was made, and what can be done with it. */
import { signal, useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { ApiError, api } from "../api/client";
import type { Job, Picture } from "../api/types";
import { CommandTabs } from "../gallery/commands";
import { Collect, Tags } from "../gallery/editors";
import { Facts } from "../gallery/facts";
import { abilityName, linesOf, takeRecipe, takeSeed } from "../gallery/hand";
import { apply, followMarks, marked } from "../gallery/marks";
import { keyOf, queryOf, searchOf } from "../gallery/search";
import { SendTo } from "../gallery/send";
import { type Shelf, shelfOf } from "../gallery/shelf";
import { language, t } from "../i18n";
import { href, place, replace } from "../router";
import { jobOf } from "../state/jobs";
import {
  deleted,
  download,
  favour,
  favourites,
  fileOf,
  know,
  type Marks,
  onChange,
  remove,
  restore,
  thumbnailOf,
} from "../state/pictures";
import { originOf, urlOf } from "../state/source";
import { attempt } from "../state/toasts";
import { Button } from "../ui/button";
import { Icon } from "../ui/icon";
import { titleOf } from "../ui/job";
import { nameOf } from "../ui/settings";
import { also, isTyping } from "../ui/shortcuts";
import type { Tool } from "./tool";

also({ keys: "← →", text: "keys.between" });

/** Ids of the pictures around this one: of the search that it was opened from, or of its job. */
const around = signal<{ id: string; ids: readonly string[] }>({ id: "", ids: [] });

function Look({ argument: id }: { argument: string }) {
  const picture = useSignal<Picture | null>(null);
  const gone = useSignal(false);
  const query = place.value.query;
  const searched = query.get("of") === "search";
  const search = searchOf(query);
  const key = keyOf(search);
  const shelf = useMemo(() => (searched ? shelfOf(search) : null), [searched, key]);
  useEffect(followMarks, []);
  useEffect(() => {
    let left = false;
    gone.value = false;
    const known = shelf?.pictures.peek().find((one) => one.id === id);
    if (picture.value?.id !== id) picture.value = known ?? null;
    const read = async () => {
      const found = await readPicture(id);
      if (left) return;
      if (found) {
        know([found]);
        picture.value = found;
      } else if (found === null) gone.value = true;
    };
    void read();
    const end = onChange((ids, change) => {
      if (ids.includes(id) && change !== "deleted") void read();
    });
    return () => {
      left = true;
      end();
    };
  }, [id, shelf, gone, picture]);
  const own = picture.value;
  const ids = useNeighbours(id, own?.job, shelf);
  const at = ids.indexOf(id);
  const link = searched ? { ...queryOf(search), of: "search" } : {};
  const to = (step: number) => {
    const next = at < 0 ? undefined : ids[at + step];
    if (next) replace("picture", next, link);
  };
  useEffect(() => {
    const keys = (event: KeyboardEvent) => {
      const held = event.ctrlKey || event.metaKey || event.altKey || event.shiftKey;
      if (held || event.defaultPrevented || isTyping(event.target)) return;
      if (document.querySelector("dialog[open]")) return;
      if (event.key === "ArrowLeft") to(-1);
      if (event.key === "ArrowRight") to(1);
      if (event.key === "f") void favour(id);
      if (event.key === "Delete") void remove(id);
    };
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  });
  if (deleted.value.has(id)) return <Gone back={() => void restore(id)} />;
  if (gone.value) return <Gone />;
  return (
    <div class="look">
      <div class="look-picture">
        <div class="row look-nav">
          <a class="button plain" href={href("gallery", "", searched ? queryOf(search) : {})}>
            <Icon name="gallery" />
            {t("look.back")}
          </a>
          <span class="grow" />
          <Step to={() => to(-1)} label={t("look.before")} icon="back" there={at > 0} />
          <Step
            to={() => to(1)}
            label={t("look.next")}
            icon="next"
            there={at >= 0 && at + 1 < ids.length}
          />
        </div>
        <img
          class="large"
          src={fileOf({ id })}
          width={own?.width}
          height={own?.height}
          alt={own ? t("picture.one", { prompt: titleOf(own) }) : ""}
        />
        {!searched && ids.length > 1 && <Strip ids={ids} current={id} />}
      </div>
      {own && own.id === id && <Details picture={own} onMark={(marks) => change(own, marks)} />}
    </div>
  );
  function change(one: Picture, marks: Marks) {
    picture.value = marked(one, marks);
    void apply([one.id], marks).then((done) => {
      if (!done && picture.value?.id === one.id) picture.value = one;
    });
  }
}

/** Undefined where the server did not answer, which is said. */
async function readPicture(id: string): Promise<Picture | null | undefined> {
  try {
    return await api.get<Picture>(`v1/pictures/${id}`);
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    await attempt(() => Promise.reject(error));
    return undefined;
  }
}

function useNeighbours(
  id: string,
  job: string | undefined,
  shelf: Shelf | null,
): readonly string[] {
  const shown = shelf?.pictures.value;
  useEffect(() => {
    if (shelf)
      void shelf.until((all) => {
        const at = all.findIndex((one) => one.id === id);
        return at >= 0 && at + 1 < all.length;
      });
    else if (job)
      void together(job).then((ids) => {
        around.value = { id: job, ids };
      });
  }, [id, job, shelf]);
  if (shown) return shown.map((one) => one.id);
  const ids = around.value.id === job ? around.value.ids : [];
  return ids.filter((one) => one === id || !deleted.value.has(one));
}

/** Ids of the pictures of a job. */
async function together(job: string): Promise<string[]> {
  const known = jobOf(job) ?? (await attempt(() => api.get<Job>(`v1/jobs/${job}`)));
  return known?.pictures.map((one) => one.id) ?? [];
}

interface StepProps {
  to: () => void;
  label: string;
  icon: "back" | "next";
  there: boolean;
}

function Step({ to, label, icon, there }: StepProps) {
  return <Button bare icon={icon} label={label} disabled={!there} onClick={to} />;
}

function Strip({ ids, current }: { ids: readonly string[]; current: string }) {
  return (
    <ul class="strip" aria-label={t("look.job")}>
      {ids.map((id, i) => (
        <li key={id}>
          <a
            href={href("picture", id)}
            aria-current={id === current ? "true" : undefined}
            aria-label={t("picture.of", { i: i + 1, n: ids.length, prompt: "" }).replace(
              /[::]\s*$/,
              "",
            )}
            onClick={(event) => {
              if (event.ctrlKey || event.metaKey || event.shiftKey) return;
              event.preventDefault();
              replace("picture", id);
            }}
          >
            <img src={thumbnailOf({ id })} alt="" width={72} height={72} />
          </a>
        </li>
      ))}
    </ul>
  );
}

function Gone({ back }: { back?: () => void }) {
  return (
    <div class="empty">
      <p>{t(back ? "picture.deleted" : "look.gone")}</p>
      <div class="row">
        {back && <Button icon="undo" kind="primary" label={t("gallery.restore")} onClick={back} />}
        <a class="button" href={href("gallery")}>
          {t("look.back")}
        </a>
      </div>
    </div>
  );
}

interface DetailsProps {
  picture: Picture;
  onMark: (marks: Marks) => void;
}

function Details({ picture, onMark }: DetailsProps) {
  const favourite = favourites.value[picture.id] ?? picture.favourite;
  return (
    <div class="look-details">
      <h2 class="look-prompt">{titleOf(picture)}</h2>
      <div class="row">
        <Button
          bare
          icon="star"
          filled={favourite}
          pressed={favourite}
          label={t(favourite ? "action.unfavourite" : "action.favourite")}
          onClick={() => void favour(picture.id)}
        />
        <Button icon="download" label={t("look.download")} onClick={() => download(picture)} />
        <Button
          kind="plain"
          label={t("look.download.bare")}
          onClick={() => download(picture, false)}
        />
        <Button
          bare
          icon="trash"
          kind="plain"
          label={t("action.delete")}
          onClick={() => void remove(picture.id)}
        />
      </div>
      <section class="stack tight">
        <h2>{t("look.send")}</h2>
        <SendTo id={picture.id} />
      </section>
      <section class="stack tight">
        <h2>{t("look.about")}</h2>
        <About picture={picture} />
        <div class="row">
          <Button
            kind="primary"
            label={t("look.use")}
            onClick={() => takeRecipe(picture, picture.seed)}
          />
          <Button label={t("look.useSeed")} onClick={() => takeSeed(picture.seed)} />
        </div>
      </section>
      <Inputs inputs={picture.inputs} />
      <section class="stack tight">
        <h2>{t("gallery.tags")}</h2>
        <Tags pictures={[picture]} onMark={onMark} />
      </section>
      <section class="stack tight">
        <h2>{t("gallery.collections")}</h2>
        <Collect pictures={[picture]} onMark={onMark} />
      </section>
      <CommandTabs id={picture.id} />
    </div>
  );
}

function About({ picture }: { picture: Picture }) {
  const date = new Date(1000 * picture.created).toLocaleString(language.value, {
    dateStyle: "medium",
    timeStyle: "short",
  });
  const facts: [string, string][] = [
    [t("look.ability"), abilityName(picture.ability)],
    [t("look.seed"), String(picture.seed)],
    ...(picture.model ? [[t("look.model"), picture.model] as [string, string]] : []),
    [t("look.size"), `${picture.width} × ${picture.height}`],
    ...linesOf(picture).map(([name, value]): [string, string] => [nameOf(name), value]),
    [t("look.date"), date],
    [t("look.bytes"), `${picture.format.toUpperCase()}, ${Math.ceil(picture.bytes / 1024)} kB`],
  ];
  return <Facts facts={facts} />;
}

function Inputs({ inputs }: { inputs: Record<string, string> }) {
  const all = Object.entries(inputs);
  if (all.length === 0) return null;
  return (
    <section class="stack tight">
      <h2>{t("look.inputs")}</h2>
      <ul class="strip">
        {all.map(([name, id]) => {
          const origin = originOf(id);
          return (
            <li key={name}>
              <a href={origin ? href("picture", origin) : urlOf(id)}>
                <img src={urlOf(id)} alt={nameOf(name)} width={72} height={72} />
              </a>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

export const picture: Tool = {
  id: "picture",
  title: "look.title",
  icon: "gallery",
  group: "keep",
  within: "gallery",
  View: Look,
};
