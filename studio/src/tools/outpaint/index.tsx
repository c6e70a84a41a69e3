/** An endless canvas: what is empty in the frame is painted, and what is there is kept. */
import { type Signal, useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError, api } from "../../api/client";
import type { Job } from "../../api/types";
import { bitmapOf, sizeOf } from "../../canvas/bitmaps";
import { composed } from "../../canvas/compose";
import { beside, knownShare, piecesOf, resized, timesFor } from "../../canvas/frame";
import {
  around,
  type Box,
  fitted,
  type Size,
  showing,
  type View,
  zoomed,
} from "../../canvas/geometry";
import { redo, undo } from "../../canvas/history";
import { thinned } from "../../canvas/mask";
import { askPrompt, promptOf } from "../../canvas/told";
import { t } from "../../i18n";
import { go, href } from "../../router";
import { model } from "../../state/capabilities";
import { adopt, asked, form, handed, set } from "../../state/form";
import { draw, isOver, jobOf, previews, put } from "../../state/jobs";
import { kept } from "../../state/kept";
import { deleted } from "../../state/pictures";
import { upload } from "../../state/source";
import { attempt, say } from "../../state/toasts";
import { Button } from "../../ui/button";
import { failureOf } from "../../ui/job";
import { Picker } from "../../ui/picker";
import { Prompt } from "../../ui/prompt";
import { Settings } from "../../ui/settings";
import { also, isText } from "../../ui/shortcuts";
import type { Tool } from "../tool";
import { Choices, Top, Under, Zoom } from "./bars";
import { Board } from "./board";
import { accept, add, change, type Paper, paperOf } from "./paper";

const CHOICES = 4;
const DIGITS = /^[0-9a-f]{32}([0-9a-f]{32})?$/;
const last = kept("outpaint.last", "");
const eraser = kept("outpaint.eraser", 24);

also(
  { keys: "← ↑ → ↓", text: "outpaint.keys.move" },
  { keys: "Ctrl+← ↑ → ↓", text: "outpaint.keys.view" },
  { keys: "+ - 0", text: "outpaint.keys.zoom" },
  { keys: "Enter", text: "outpaint.keys.accept" },
  { keys: "Esc", text: "outpaint.keys.discard" },
);

function Outpaint({ argument }: { argument: string }) {
  useEffect(() => {
    const given = handed.value;
    if (given?.tool !== "outpaint") return;
    handed.value = null;
    const { prompt: _, ...others } = given.fields; // a canvas has its own
    adopt("outpaint", form("outpaint"), others);
    const id = given.inputs["image"];
    if (id && id !== argument) go("outpaint", id);
  }, [argument]);
  return argument ? <Opened key={argument} name={argument} /> : <Start />;
}

function Start() {
  return (
    <div class="start">
      <div class="page-head">
        <h2>{t("outpaint.title")}</h2>
        <p>{t("outpaint.about")}</p>
      </div>
      <Picker label={t("outpaint.picture")} value="" onChange={(id) => go("outpaint", id)} />
      <div class="row">
        <Button
          icon="plus"
          label={t("outpaint.new")}
          onClick={() => go("outpaint", `new-${Date.now().toString(36)}`)}
        />
        {last.value && (
          <a class="button" href={href("outpaint", last.value)}>
            {t("outpaint.last")}
          </a>
        )}
      </div>
    </div>
  );
}

function modelSize(): Size {
  const [width = 256, height = 256] = model.value?.size ?? [];
  return { width, height };
}

/** A canvas by its name: the picture that it began with, or a word. */
function Opened({ name }: { name: string }) {
  const paper = paperOf(name);
  const begins = DIGITS.test(name) ? name : "";
  const image = begins ? bitmapOf(begins) : undefined;
  const ready = !begins || paper.value.entries.done.length > 0;
  useEffect(() => {
    last.value = name;
    if (ready || !image || image === "missing") return;
    const size = sizeOf(image);
    const times = timesFor(size, modelSize());
    const piece = { kind: "picture", id: begins, x: 0, y: 0, ...size } as const;
    const frame = { x: 0, y: 0, ...frameSize(times) };
    add(paper, piece);
    change(paper, { times, frame: beside(frame, piece, "right") });
  }, [name, ready, image]);
  if (image === "missing" && !ready) {
    return (
      <div class="start">
        <p class="banner bad" role="alert">
          {t("edit.missing")}
        </p>
        <Picker label={t("outpaint.picture")} value="" onChange={(id) => go("outpaint", id)} />
      </div>
    );
  }
  if (!ready) return <p class="soft">{t("state.loading")}</p>;
  return <Canvas paper={paper} begins={begins} />;
}

function frameSize(times: number): Size {
  const { width, height } = modelSize();
  return { width: times * width, height: times * height };
}

function Canvas({ paper, begins }: { paper: Signal<Paper>; begins: string }) {
  const { entries, pending, times } = paper.value;
  const fields = form("outpaint");
  const view = useSignal<View | null>(null);
  const screen = useSignal<Size>({ width: 0, height: 0 });
  const [erases, setErases] = useState(false);
  const [index, setIndex] = useState(0);
  const [sending, send] = useState(false);
  const frame: Box = pending?.box ?? { ...paper.value.frame, ...frameSize(times) };
  const job = usePending(paper);
  const choices = job?.pictures.filter((one) => !deleted.value.has(one.id)) ?? [];
  const choice = choices[index];
  const inside = useInside(job, choice?.id ?? "", index);
  const known = useMemo(
    () => knownShare(frame, entries.done),
    [frame.x, frame.y, frame.width, entries.done],
  );
  const prompt = paper.value.prompt ?? promptOf(begins);
  const locked = pending !== null;
  const percent = Math.round(100 * known);

  useEffect(() => {
    if (begins) void askPrompt(begins);
  }, [begins]);
  const showAll = () => {
    const box = around([...piecesOf(entries.done), frame]);
    if (box && screen.value.width > 0) view.value = fitted(box, screen.value);
  };
  useEffect(() => {
    if (!view.value) showAll();
  }, [screen.value]);
  useUndo(paper, begins ? 1 : 0);

  const place = (box: Box) => change(paper, { frame: { x: box.x, y: box.y } });
  const placeSeen = (box: Box) => {
    place(box);
    const all = around([...piecesOf(entries.done), box]);
    if (!view.value || !all) return;
    const seen = showing(view.value, all, screen.value) === view.value;
    if (!seen) view.value = fitted(all, screen.value);
  };
  const submit = async () => {
    if (sending || !prompt.trim()) return;
    send(true);
    await attempt(async () => {
      const { file, open } = await composed(frame, entries.done);
      if (open === 0) return say(t("outpaint.full"));
      const told = await upload(file);
      if (!told) return;
      const given = { ...fields.value, prompt, n: CHOICES };
      const made = await draw(asked("edit", given, { image: told.id }));
      setIndex(0);
      setErases(false);
      change(paper, { pending: { job: made.id, box: frame } });
    });
    send(false);
  };
  const turn = (to: number) => setIndex((to + choices.length) % Math.max(1, choices.length));
  /** The button that had the focus is not there any more. */
  const toBoard = () => document.querySelector<HTMLElement>(".board > canvas")?.focus();
  const take = () => {
    if (choice) accept(paper, choice.id);
    toBoard();
  };
  const discard = () => {
    change(paper, { pending: null });
    toBoard();
  };
  const missing = piecesOf(entries.done).some((one) => bitmapOf(one.id) === "missing");
  return (
    <form
      class="outpaint"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <div class="edit-prompt">
        <Prompt
          label={t("outpaint.prompt")}
          placeholder={t("outpaint.placeholder")}
          value={prompt}
          disabled={sending || locked || known === 1}
          onChange={(text) => change(paper, { prompt: text })}
          onSubmit={() => locked || known === 1 || void submit()}
        />
        <p class="soft small">
          {choices.length > 0 ? t("outpaint.help.choices") : known === 1 && t("outpaint.full")}
          {choices.length === 0 && known < 1 && (
            <>
              {t("outpaint.known", { percent })} {!locked && t("outpaint.help")}
            </>
          )}
        </p>
      </div>
      {missing && (
        <p class="banner bad" role="alert">
          {t("outpaint.missing")}
        </p>
      )}
      <div class="board">
        <Board
          entries={entries.done}
          frame={frame}
          inside={inside}
          locked={locked}
          eraser={erases ? eraser.value : null}
          view={view}
          screen={screen}
          onFrame={place}
          onErase={(points) => {
            const { radius, points: kept } = thinned({
              kind: "eraser",
              radius: eraser.value,
              points,
            });
            add(paper, { kind: "eraser", radius, points: kept });
          }}
          onFit={showAll}
          onChoose={(key) => {
            if (choices.length === 0) return;
            if (key === "accept") take();
            else if (key === "discard") discard();
            else turn(index + (key === "next" ? 1 : -1));
          }}
        />
        <Top
          paper={paper}
          frame={frame}
          floor={begins ? 1 : 0}
          erases={erases}
          onErases={setErases}
        />
        <Zoom
          onFit={showAll}
          onZoom={(by) => {
            const { width, height } = screen.value;
            if (view.value) view.value = zoomed(view.value, by, { x: width / 2, y: height / 2 });
          }}
        />
        {locked && !job && !sending && (
          <div class="floating bottom">
            <span class="text" role="status">
              {t("state.loading")}
            </span>
            <Button kind="plain" label={t("outpaint.discard")} onClick={discard} />
          </div>
        )}
        {sending && !job && (
          <p class="floating bottom" role="status">
            <span class="text">{t("outpaint.sending")}</span>
          </p>
        )}
        {job && (
          <Choices
            job={job}
            index={index}
            count={choices.length}
            onIndex={turn}
            onAgain={() => void submit()}
            onAccept={take}
            onDiscard={discard}
          />
        )}
      </div>
      <p class="hidden" role="status" aria-live="polite">
        {!locked && t("outpaint.said", { x: frame.x, y: frame.y, percent })}
      </p>
      <div class="under">
        <Under
          paper={paper}
          frame={frame}
          model={modelSize()}
          eraser={erases ? eraser.value : null}
          onEraser={(radius) => {
            eraser.value = radius;
          }}
          onFrame={placeSeen}
          onTimes={(one) => {
            const { x, y } = resized(frame, frameSize(one));
            change(paper, { times: one, frame: { x, y } });
          }}
        />
        <Settings
          tool="edit"
          fields={fields.value}
          without={["prompt", "n", "box"]}
          onChange={(name, value) => set(fields, name, value)}
        />
      </div>
      <a class="small" href={href("outpaint")}>
        {t("outpaint.another")}
      </a>
    </form>
  );
}

const AGAIN_MS = 2000;

/**
 * The job that fills the frame, also after a reload, and when the page's list of jobs has forgotten
 * it; one that ended with nothing, or that the server does not have, lets go.
 */
export function usePending(paper: Signal<Paper>): Job | null {
  const id = paper.value.pending?.job ?? "";
  const known = jobOf(id);
  const [held, hold] = useState<Job | null>(null);
  const job = known ?? (held?.id === id ? held : null);
  useEffect(() => {
    if (known) hold(known);
  }, [known]);
  useEffect(() => {
    if (!id || job) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let left = false;
    const ask = async () => {
      try {
        const told = await api.get<Job>(`v1/jobs/${id}`);
        put(told);
        if (!left) hold(told);
      } catch (error) {
        if (left) return;
        if (error instanceof ApiError && error.status === 404) change(paper, { pending: null });
        else timer = setTimeout(ask, AGAIN_MS);
      }
    };
    void ask();
    return () => {
      left = true;
      clearTimeout(timer);
    };
  }, [id, job === null]);
  useEffect(() => {
    if (!job || !isOver(job) || job.state === "done") return;
    if (job.state === "failed") say(t("job.failed", { reason: failureOf(job) }));
    change(paper, { pending: null });
  }, [job?.id, job?.state]);
  return job;
}

/** What is shown in the frame: the choice, or the newest preview. */
function useInside(job: Job | null, choice: string, index: number): HTMLImageElement | null {
  const chosen = choice ? bitmapOf(choice) : undefined;
  const [preview, setPreview] = useState<HTMLImageElement | null>(null);
  const url = job && !isOver(job) ? previews.value[job.id]?.[index] : undefined;
  useEffect(() => {
    if (!url) return setPreview(null);
    const image = new Image();
    image.onload = () => setPreview(image);
    image.src = url;
  }, [url]);
  return chosen && chosen !== "missing" ? chosen : preview;
}

function useUndo(paper: Signal<Paper>, floor: number): void {
  const newest = useRef(floor);
  newest.current = floor;
  useEffect(() => {
    const down = (event: KeyboardEvent) => {
      const key = event.key.toLowerCase();
      if (!(event.ctrlKey || event.metaKey) || (key !== "z" && key !== "y")) return;
      const { entries, pending } = paper.value;
      if (isText(event.target) || pending || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      if (key === "y" || event.shiftKey) change(paper, { entries: redo(entries) });
      else if (entries.done.length > newest.current) change(paper, { entries: undo(entries) });
    };
    addEventListener("keydown", down);
    return () => removeEventListener("keydown", down);
  }, [paper]);
}

export const outpaint: Tool = {
  id: "outpaint",
  title: "outpaint.title",
  icon: "outpaint",
  group: "change",
  needs: "edit",
  View: Outpaint,
};
