/** A picture that is dropped on the page, or pasted, says how it was made. */
import { useEffect, useState } from "preact/hooks";
import type { Recorded, Upload } from "../api/types";
import { t } from "../i18n";
import { place } from "../router";
import { pictureIn, upload } from "../state/source";
import { say } from "../state/toasts";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { titleOf } from "../ui/job";
import { nameOf } from "../ui/settings";
import { Facts } from "./facts";
import { abilityName, linesOf, type Recipe, takeRecipe } from "./hand";
import { SendTo } from "./send";

interface Brought {
  told: Upload;
  /** Of the file itself. */
  url: string;
}

/** Tools in which a pasted picture is no input. */
const PASTE = new Set(["make", "gallery", "picture"]);

function hasFiles(event: DragEvent): boolean {
  return event.dataTransfer?.types.includes("Files") ?? false;
}

export function Drop() {
  const [over, setOver] = useState(false);
  const [brought, bring] = useState<Brought | null>(null);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const take = async (file: File | null) => {
      if (!file) return say(t("drop.none"));
      const told = await upload(file);
      if (told) bring({ told, url: URL.createObjectURL(file) });
    };
    const dragged = (event: DragEvent) => {
      if (event.defaultPrevented || !hasFiles(event)) return setOver(false);
      event.preventDefault(); // else the browser shows the file in place of the page
      setOver(true);
      clearTimeout(timer);
      timer = setTimeout(() => setOver(false), 400); // it left, or Escape ended it
    };
    const dropped = (event: DragEvent) => {
      setOver(false);
      if (event.defaultPrevented || !hasFiles(event)) return;
      event.preventDefault();
      if (!document.querySelector("dialog[open]")) void take(pictureIn(event.dataTransfer));
    };
    const pasted = (event: ClipboardEvent) => {
      const file = pictureIn(event.clipboardData);
      if (!file || event.defaultPrevented || !PASTE.has(place.value.tool)) return;
      event.preventDefault();
      void take(file);
    };
    addEventListener("dragover", dragged);
    addEventListener("drop", dropped);
    addEventListener("paste", pasted);
    return () => {
      clearTimeout(timer);
      removeEventListener("dragover", dragged);
      removeEventListener("drop", dropped);
      removeEventListener("paste", pasted);
    };
  }, []);
  // A link of the dialog leads away: then it has done its part.
  const here = place.value;
  useEffect(() => {
    bring(null);
  }, [here]);
  useEffect(() => {
    const url = brought?.url;
    return () => {
      if (url) URL.revokeObjectURL(url);
    };
  }, [brought]);
  return (
    <>
      {over && (
        <div class="drop-here" aria-hidden="true">
          <p>{t("drop.here")}</p>
        </div>
      )}
      {brought && <Found brought={brought} onClose={() => bring(null)} />}
    </>
  );
}

function Found({ brought, onClose }: { brought: Brought; onClose: () => void }) {
  const { told, url } = brought;
  const { record } = told;
  const recipe: Recipe | null = record && {
    ability: record.ability,
    fields: record.fields,
    model: record.served ?? undefined,
  };
  return (
    <Dialog title={t("drop.title")} onClose={onClose}>
      <div class="found">
        <img class="checker" src={url} alt="" width={told.width} height={told.height} />
        <div class="stack">
          <p class="soft">
            {record ? t("drop.known", { program: record.program }) : t("drop.unknown")}
          </p>
          {recipe && record && (
            <>
              <h3 class="look-prompt">{titleOf(recipe)}</h3>
              <Facts facts={factsOf(recipe, record, told)} />
              {record.left.length > 0 && (
                <div class="soft small">
                  <p>{t("drop.left")}</p>
                  <ul class="left">
                    {record.left.map((one) => (
                      <li key={one}>{one}</li>
                    ))}
                  </ul>
                </div>
              )}
              <div class="row">
                <Button
                  kind="primary"
                  label={t("look.use")}
                  onClick={() => {
                    onClose();
                    takeRecipe(recipe, record.seed);
                  }}
                />
              </div>
            </>
          )}
          <h3>{t("look.send")}</h3>
          <SendTo id={told.id} />
        </div>
      </div>
    </Dialog>
  );
}

function factsOf(recipe: Recipe, record: Recorded, told: Upload): [string, string][] {
  return [
    [t("look.ability"), abilityName(recipe.ability)],
    [t("look.seed"), String(record.seed)],
    [t("look.model"), record.served ?? record.model],
    [t("look.size"), `${told.width} × ${told.height}`],
    ...linesOf(recipe).map(([name, value]): [string, string] => [nameOf(name), value]),
  ];
}
