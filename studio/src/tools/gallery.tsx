/** All own pictures: searched, marked, collected, packed and deleted. */
import { type Signal, useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Picture } from "../api/types";
import { Collect, Tags } from "../gallery/editors";
import { Fresh, PictureGrid } from "../gallery/grid";
import {
  apply,
  collections,
  followMarks,
  nameOfCollection,
  removeCollection,
  renameCollection,
  tags,
} from "../gallery/marks";
import { keepSpot } from "../gallery/place";
import { EVERYTHING, keyOf, queryOf, type Search, searchOf } from "../gallery/search";
import { NONE, type Selection, within } from "../gallery/selection";
import { type Shelf, shelfOf } from "../gallery/shelf";
import { t } from "../i18n";
import { go, href, place, replace } from "../router";
import { downloadAll, favourAll, favourites, remove, restore } from "../state/pictures";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { Field } from "../ui/field";
import { Icon } from "../ui/icon";
import { also } from "../ui/shortcuts";
import type { Tool } from "./tool";

const SEARCH_MS = 180;
/** Tags that are shown before "more". */
const FEW_TAGS = 10;

also(
  { keys: "← → ↑ ↓", text: "keys.move" },
  { keys: "Space", text: "keys.choose" },
  { keys: "Shift+→", text: "keys.range" },
  { keys: "Ctrl+A", text: "keys.all" },
  { keys: "f", text: "keys.favourite" },
  { keys: "Del", text: "keys.delete" },
);

function Gallery() {
  const search = searchOf(place.value.query);
  const key = keyOf(search);
  const shelf = useMemo(() => shelfOf(search), [key]);
  const selection = useSignal<Selection>(NONE);
  useEffect(followMarks, []);
  useEffect(() => {
    selection.value = NONE;
  }, [key, selection]);
  const shown = shelf.pictures.value;
  useEffect(() => {
    selection.value = within(
      selection.value,
      shown.map((one) => one.id),
    );
  }, [shown, selection]);
  return (
    <div class="gallery">
      <Seek search={search} />
      <Filters search={search} />
      {search.collection && <Collection id={search.collection} />}
      {search.deleted && <p class="soft small">{t("gallery.deleted.help")}</p>}
      {shelf.begun.value && shown.length === 0 && shelf.fresh.value.length === 0 && (
        <Empty search={search} />
      )}
      <div>
        <Fresh shelf={shelf} />
        <PictureGrid key={key} shelf={shelf} selection={selection} />
      </div>
      <p class="soft small reading" role="status">
        {shelf.busy.value && t("state.loading")}
      </p>
      <Chosen shelf={shelf} selection={selection} />
    </div>
  );
}

/** The search: what is typed stands in the address, without an entry of its own for each letter. */
function Seek({ search }: { search: Search }) {
  const [typed, type] = useState(search.q);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const sought = useRef(search.q);
  useEffect(() => {
    // Back and forward lead to other searches; what is being typed is ahead of the address.
    if (search.q !== sought.current) type(search.q);
    sought.current = search.q;
  }, [search.q]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const seek = (q: string) => {
    type(q);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      // A filter may have been chosen since the last letter.
      const next = { ...searchOf(place.peek().query), q: q.trim() };
      sought.current = next.q;
      keepSpot(keyOf(next), null);
      replace("gallery", "", queryOf(next));
    }, SEARCH_MS);
  };
  return (
    <div class="seek">
      <Icon name="search" />
      <input
        type="search"
        aria-label={t("gallery.search")}
        placeholder={t("gallery.search")}
        value={typed}
        onInput={(event) => seek(event.currentTarget.value)}
      />
    </div>
  );
}

function Filters({ search }: { search: Search }) {
  const [all, showAll] = useState(false);
  const known = Object.entries(tags.value).sort(([, a], [, b]) => b - a);
  const names = known.map(([name]) => name);
  const first = names.slice(0, all ? names.length : FEW_TAGS);
  if (search.tag && !first.includes(search.tag)) first.unshift(search.tag);
  return (
    <div class="filters">
      <fieldset class="row chips">
        <legend class="hidden">{t("gallery.show")}</legend>
        <Filter
          search={search}
          by={{ favourites: !search.favourites, deleted: false }}
          on={search.favourites}
          icon="star"
          text={t("gallery.favourites")}
        />
        {collections.value.map((one) => (
          <Filter
            key={one.id}
            search={search}
            by={{ collection: search.collection === one.id ? "" : one.id, deleted: false }}
            on={search.collection === one.id}
            icon="folder"
            text={one.name}
            count={one.pictures}
          />
        ))}
        {first.map((name) => (
          <Filter
            key={name}
            search={search}
            by={{ tag: search.tag === name ? "" : name, deleted: false }}
            on={search.tag === name}
            icon="tag"
            text={name}
            count={tags.value[name] ?? 0}
          />
        ))}
        {names.length > FEW_TAGS && (
          <button type="button" class="chip" aria-expanded={all} onClick={() => showAll(!all)}>
            {t(all ? "gallery.tags.fewer" : "gallery.tags.more", { n: names.length - FEW_TAGS })}
          </button>
        )}
        <Filter
          search={search}
          by={search.deleted ? { deleted: false } : { ...EVERYTHING, q: search.q, deleted: true }}
          on={search.deleted}
          icon="trash"
          text={t("gallery.bin")}
        />
      </fieldset>
    </div>
  );
}

interface FilterProps {
  search: Search;
  by: Partial<Search>;
  on: boolean;
  icon: "star" | "folder" | "tag" | "trash";
  text: string;
  count?: number;
}

function Filter({ search, by, on, icon, text, count }: FilterProps) {
  return (
    <button
      type="button"
      class="chip"
      aria-pressed={on}
      onClick={() => go("gallery", "", queryOf({ ...search, ...by }))}
    >
      <Icon name={icon} filled={on && icon === "star"} />
      <span class="name">{text}</span>
      {count !== undefined && <span class="soft">{count}</span>}
    </button>
  );
}

/** The collection that is shown: its name, and what can be done with it. */
function Collection({ id }: { id: string }) {
  const [asking, ask] = useState<"rename" | "remove" | null>(null);
  const name = nameOfCollection(id);
  if (!name) return null;
  const close = () => ask(null);
  return (
    <div class="collection">
      <h2 class="grow">{name}</h2>
      <Button icon="edit" kind="plain" label={t("gallery.rename")} onClick={() => ask("rename")} />
      <Button
        icon="trash"
        kind="plain"
        label={t("gallery.removeCollection")}
        onClick={() => ask("remove")}
      />
      {asking === "rename" && <Rename id={id} name={name} onClose={close} />}
      {asking === "remove" && (
        <Dialog title={t("gallery.removeCollection")} onClose={close}>
          <div class="stack">
            <p>{t("gallery.removeCollection.help", { name })}</p>
            <div class="row">
              <Button
                kind="primary"
                label={t("action.remove")}
                onClick={async () => {
                  if (await removeCollection(id)) go("gallery");
                  close();
                }}
              />
              <Button label={t("action.cancel")} onClick={close} />
            </div>
          </div>
        </Dialog>
      )}
    </div>
  );
}

function Rename({ id, name, onClose }: { id: string; name: string; onClose: () => void }) {
  const [typed, type] = useState(name);
  return (
    <Dialog title={t("gallery.rename")} onClose={onClose}>
      <form
        class="stack"
        onSubmit={async (event) => {
          event.preventDefault();
          if (await renameCollection(id, typed)) onClose();
        }}
      >
        <Field label={t("gallery.name")}>
          {({ id: control }) => (
            <input
              id={control}
              type="text"
              maxLength={100}
              value={typed}
              onInput={(event) => type(event.currentTarget.value)}
            />
          )}
        </Field>
        <div class="row">
          <Button
            type="submit"
            kind="primary"
            label={t("gallery.rename")}
            disabled={!typed.trim()}
          />
        </div>
      </form>
    </Dialog>
  );
}

function Empty({ search }: { search: Search }) {
  const nothing = keyOf(search) === "";
  return (
    <div class="empty">
      <p>{t(nothing ? "gallery.none" : "gallery.noMatch")}</p>
      {nothing ? (
        <a class="button primary" href={href("make")}>
          {t("gallery.first")}
        </a>
      ) : (
        <Button label={t("gallery.all")} onClick={() => go("gallery")} />
      )}
    </div>
  );
}

interface ChosenProps {
  shelf: Shelf;
  selection: Signal<Selection>;
}

/** What is chosen, and what can be done with it. */
function Chosen({ shelf, selection }: ChosenProps) {
  const [asking, ask] = useState<"tags" | "collections" | "zip" | null>(null);
  const { chosen } = selection.value;
  const some = shelf.pictures.value.filter((one) => chosen.has(one.id));
  const ids = some.map((one) => one.id);
  const none = () => {
    selection.value = NONE;
  };
  const told = ids.length > 0 ? t("gallery.chosen", { n: ids.length }) : "";
  return (
    <>
      <p class="hidden" role="status">
        {told}
      </p>
      {ids.length > 0 && (
        <section class="chosen-bar" aria-label={t("gallery.actions")}>
          <span class="many">{told}</span>
          {shelf.search.deleted ? (
            <Button
              icon="undo"
              kind="primary"
              label={t("gallery.restore")}
              onClick={() => void restore(...ids)}
            />
          ) : (
            <Actions some={some} ask={ask} />
          )}
          <Button bare kind="plain" icon="close" label={t("gallery.unchoose")} onClick={none} />
        </section>
      )}
      {asking && ids.length > 0 && <Asked what={asking} some={some} onClose={() => ask(null)} />}
    </>
  );
}

interface ActionsProps {
  some: readonly Picture[];
  ask: (what: "tags" | "collections" | "zip") => void;
}

function Actions({ some, ask }: ActionsProps) {
  const ids = some.map((one) => one.id);
  const starred = ids.every((id) => favourites.value[id]);
  return (
    <>
      <Button
        bare
        icon="star"
        filled={starred}
        pressed={starred}
        label={t(starred ? "action.unfavourite" : "action.favourite")}
        onClick={() => void favourAll(ids, !starred)}
      />
      <Button bare icon="tag" label={t("gallery.tags")} onClick={() => ask("tags")} />
      <Button
        bare
        icon="folder"
        label={t("gallery.collections")}
        onClick={() => ask("collections")}
      />
      <Button bare icon="download" label={t("action.download")} onClick={() => ask("zip")} />
      <Button bare icon="trash" label={t("action.delete")} onClick={() => void remove(...ids)} />
    </>
  );
}

interface AskedProps {
  what: "tags" | "collections" | "zip";
  some: readonly Picture[];
  onClose: () => void;
}

function Asked({ what, some, onClose }: AskedProps) {
  const ids = some.map((one) => one.id);
  const many = t("gallery.chosen", { n: ids.length });
  if (what === "tags") {
    return (
      <Dialog title={`${t("gallery.tags")} · ${many}`} onClose={onClose}>
        <Tags pictures={some} onMark={(marks) => void apply(ids, marks)} />
      </Dialog>
    );
  }
  if (what === "collections") {
    return (
      <Dialog title={`${t("gallery.collections")} · ${many}`} onClose={onClose}>
        <Collect pictures={some} onMark={(marks) => void apply(ids, marks)} />
      </Dialog>
    );
  }
  const pack = (metadata: boolean) => {
    onClose();
    void downloadAll(ids, metadata);
  };
  return (
    <Dialog title={`${t("action.download")} · ${many}`} onClose={onClose}>
      <div class="stack">
        <p class="soft">{t("gallery.zip.help")}</p>
        <div class="row">
          <Button kind="primary" label={t("gallery.zip")} onClick={() => pack(true)} />
          <Button label={t("gallery.zip.bare")} onClick={() => pack(false)} />
        </div>
      </div>
    </Dialog>
  );
}

export const gallery: Tool = {
  id: "gallery",
  title: "gallery.title",
  icon: "gallery",
  group: "keep",
  View: Gallery,
};
