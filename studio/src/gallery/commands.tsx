/** How a picture is drawn elsewhere: by the command line, in Python, by curl. */
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { api } from "../api/client";
import type { Commands } from "../api/types";
import { t } from "../i18n";
import { say } from "../state/toasts";
import { Button } from "../ui/button";

const WAYS = ["cli", "python", "curl"] as const;
type Way = (typeof WAYS)[number];

/** Copy a text. Whether the browser lets the page. */
export async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // not a secure page, or refused
  }
}

export function CommandTabs({ id }: { id: string }) {
  const [told, tell] = useState<Partial<Commands> | null>(null);
  const [way, choose] = useState<Way>("cli");
  const [byHand, setByHand] = useState(false);
  const area = useRef<HTMLTextAreaElement>(null);
  const panel = useId();
  useEffect(() => {
    let left = false;
    tell(null);
    api.get<Partial<Commands>>(`v1/pictures/${id}/commands`).then(
      (found) => left || tell(found),
      () => left || tell({}),
    );
    return () => {
      left = true;
    };
  }, [id]);
  useEffect(() => {
    if (byHand) area.current?.select();
  }, [byHand, way]);
  const ways = WAYS.filter((one) => told?.[one]);
  const current = ways.includes(way) ? way : ways[0];
  const text = current ? (told?.[current] ?? "") : "";
  if (!current) return null;
  const keys = (event: KeyboardEvent) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    const next = ways[(ways.indexOf(current) + by + ways.length) % ways.length] ?? current;
    choose(next);
    document.getElementById(`${panel}-${next}`)?.focus();
  };
  const copy = async () => {
    if (await copied(text)) return say(t("action.copied"));
    setByHand(true);
    area.current?.select();
  };
  return (
    <section class="stack tight">
      <h2>{t("look.commands")}</h2>
      <div class="commands">
        <div class="row">
          <div
            class="segments grow"
            role="tablist"
            aria-label={t("look.commands")}
            onKeyDown={keys}
          >
            {ways.map((one) => (
              <button
                key={one}
                id={`${panel}-${one}`}
                type="button"
                role="tab"
                aria-selected={one === current}
                aria-controls={panel}
                tabIndex={one === current ? 0 : -1}
                onClick={() => choose(one)}
              >
                {t(`look.${one}`)}
              </button>
            ))}
          </div>
          <Button bare icon="copy" label={t("action.copy")} onClick={() => void copy()} />
        </div>
        <div id={panel} role="tabpanel" aria-labelledby={`${panel}-${current}`}>
          {byHand ? (
            <>
              <textarea
                ref={area}
                class="code"
                readOnly
                rows={6}
                aria-label={t(`look.${current}`)}
                value={text}
              />
              <p class="soft small">{t("look.copyByHand")}</p>
            </>
          ) : (
            // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keys
            <pre class="code" tabIndex={0}>
              {text}
            </pre>
          )}
        </div>
      </div>
    </section>
  );
}
