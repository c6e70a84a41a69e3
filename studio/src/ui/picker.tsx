/** Choose a picture: from a file, by dropping or pasting one, or from the gallery. */
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { api } from "../api/client";
import type { Picture, Upload } from "../api/types";
import { t } from "../i18n";
import { thumbnailOf } from "../state/pictures";
import { pictureIn, type SourceId, upload, urlOf } from "../state/source";
import { attempt } from "../state/toasts";
import { Button } from "./button";
import { Dialog } from "./dialog";
import { titleOf } from "./job";

interface Props {
  label: string;
  value: SourceId;
  onChange: (id: SourceId, told?: Upload) => void;
}

/** What a paste needs to know of a picker. */
interface Pasted {
  box: { current: Element | null };
  value: SourceId;
  take: (file: File) => Promise<void>;
}

const shown = new Set<Pasted>();

/** Which picker a pasted picture is for: the page's first that has none, else the first. */
export function pastedInto<One extends Pick<Pasted, "box" | "value">>(
  all: Iterable<One>,
): One | undefined {
  const inOrder = [...all].sort(({ box: { current: a } }, { box: { current: b } }) =>
    a && b && a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_PRECEDING ? 1 : -1,
  );
  return inOrder.find((one) => !one.value) ?? inOrder[0];
}

function paste(event: ClipboardEvent): void {
  const file = event.defaultPrevented ? null : pictureIn(event.clipboardData);
  const picker = pastedInto(shown);
  if (!file || !picker) return;
  event.preventDefault();
  void picker.take(file);
}

export function Picker({ label, value, onChange }: Props) {
  const [choosing, choose] = useState(false);
  const [over, setOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const id = useId();
  const take = async (file: File | null | undefined) => {
    const told = file ? await upload(file) : null;
    if (told) onChange(told.id, told);
  };
  const box = useRef<HTMLFieldSetElement>(null);
  const own = useRef<Pasted>({ box, value, take });
  Object.assign(own.current, { value, take });
  useEffect(() => {
    const it = own.current;
    if (shown.size === 0) addEventListener("paste", paste);
    shown.add(it);
    return () => {
      shown.delete(it);
      if (shown.size === 0) removeEventListener("paste", paste);
    };
  }, []);
  return (
    <fieldset class="field" ref={box}>
      <legend class="label small">{label}</legend>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: the buttons inside do the same by keyboard */}
      <div
        class={over ? "drop over" : "drop"}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={(event) => {
          event.preventDefault();
          event.stopPropagation();
          setOver(false);
          void take(pictureIn(event.dataTransfer));
        }}
      >
        {value ? <img src={urlOf(value)} alt={label} /> : <p class="soft">{t("picture.drop")}</p>}
        <div class="row">
          <label class="button" for={id}>
            {t("action.upload")}
          </label>
          <Button label={t("action.choose")} icon="gallery" onClick={() => choose(true)} />
        </div>
        <input
          ref={input}
          id={id}
          class="hidden"
          type="file"
          accept="image/png,image/jpeg,image/webp"
          onChange={(event) => {
            void take(event.currentTarget.files?.[0]);
            event.currentTarget.value = "";
          }}
        />
      </div>
      {choosing && (
        <Chooser
          onClose={() => choose(false)}
          onChoose={(one) => {
            choose(false);
            onChange(one.id);
          }}
        />
      )}
    </fieldset>
  );
}

interface ChooserProps {
  onClose: () => void;
  onChoose: (picture: Picture) => void;
}

/** Own pictures, newest first, searched by their prompts. */
function Chooser({ onClose, onChoose }: ChooserProps) {
  const [query, setQuery] = useState("");
  const [found, setFound] = useState<readonly Picture[]>([]);
  useEffect(() => {
    let old = false;
    const timer = setTimeout(async () => {
      const asked = new URLSearchParams({ q: query, limit: "60" });
      const page = await attempt(() => api.get<{ data: Picture[] }>(`v1/pictures?${asked}`));
      if (page && !old) setFound(page.data);
    }, 150);
    return () => {
      old = true;
      clearTimeout(timer);
    };
  }, [query]);
  return (
    <Dialog title={t("action.choose")} onClose={onClose}>
      <div class="stack">
        <input
          type="search"
          aria-label={t("gallery.search")}
          placeholder={t("gallery.search")}
          value={query}
          onInput={(event) => setQuery(event.currentTarget.value)}
        />
        {found.length === 0 && <p class="soft">{t("state.nothing")}</p>}
        <div class="four">
          {found.map((one) => (
            <button
              key={one.id}
              type="button"
              class="card choice"
              aria-label={titleOf(one)}
              onClick={() => onChoose(one)}
            >
              <img src={thumbnailOf(one)} alt="" loading="lazy" />
            </button>
          ))}
        </div>
      </div>
    </Dialog>
  );
}
