/** Paint over a part of a picture and say what the whole is to show: the rest stays as it is. */
import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Drawn, Job } from "../../api/types";
import { bitmapOf, pngOf, sizeOf } from "../../canvas/bitmaps";
import { maskOf, pixelsOf, share } from "../../canvas/mask";
import { askPrompt, jobsFrom, learnDigest, promptOf } from "../../canvas/told";
import { t } from "../../i18n";
import { go, href } from "../../router";
import { ability } from "../../state/capabilities";
import { adopt, asked, form, handed, set } from "../../state/form";
import { draw } from "../../state/jobs";
import { kept } from "../../state/kept";
import { download, fileOf } from "../../state/pictures";
import { upload } from "../../state/source";
import { attempt } from "../../state/toasts";
import { Button } from "../../ui/button";
import { Count } from "../../ui/count";
import { Hold } from "../../ui/hold";
import { Icon } from "../../ui/icon";
import { Picker } from "../../ui/picker";
import { Prompt } from "../../ui/prompt";
import { Settings } from "../../ui/settings";
import { also, isText } from "../../ui/shortcuts";
import type { Tool } from "../tool";
import { back, forth, type Kind, middleOf, nextRadius, paperOf } from "./paper";
import { Results } from "./results";
import { Stage } from "./stage";
import { Tools } from "./tools";

/** Of the brush, as a part of the picture's longer side; kept, as it suits a hand and not a picture. */
const width = kept("edit.brush", 0.06);

also(
  { keys: "B", text: "edit.brush" },
  { keys: "X", text: "edit.eraser" },
  { keys: "R", text: "edit.rectangle" },
  { keys: "[ ]", text: "edit.keys.size" },
  { keys: "← ↑ → ↓", text: "edit.keys.move" },
  { keys: "Shift+← ↑ → ↓", text: "edit.keys.resize" },
  { keys: "Alt+← ↑ → ↓", text: "edit.keys.pixel" },
  { keys: "Enter", text: "edit.keys.paint" },
  { keys: "Ctrl+Z", text: "action.undo" },
  { keys: "Ctrl+Shift+Z", text: "action.redo" },
  { keys: "C", text: "edit.keys.compare" },
);

function Edit({ argument }: { argument: string }) {
  const given = handed.value;
  useEffect(() => {
    if (given?.tool !== "edit") return;
    handed.value = null;
    const id = given.inputs["image"] ?? argument;
    const { prompt, box: _, ...others } = given.fields;
    adopt("edit", form("edit"), others);
    if (id && typeof prompt === "string") paperOf(id).value = { ...paperOf(id).value, prompt };
    if (id && id !== argument) go("edit", id);
  }, [argument, given]);
  return argument ? <Opened key={argument} id={argument} /> : <Start />;
}

/** Put a prompt that came with a picture where one is typed, unless there is one. */
function begin(id: string, prompt: unknown): void {
  const paper = paperOf(id);
  if (typeof prompt !== "string" || paper.value.prompt !== null) return;
  paper.value = { ...paper.value, prompt };
}

function Start() {
  return (
    <div class="start">
      <div class="page-head">
        <h2>{t("edit.title")}</h2>
        <p>{t("edit.about")}</p>
      </div>
      <Picker
        label={t("edit.picture")}
        value=""
        onChange={(id, told) => {
          begin(id, told?.record?.fields["prompt"]);
          go("edit", id);
        }}
      />
    </div>
  );
}

function Opened({ id }: { id: string }) {
  const image = bitmapOf(id);
  if (image === "missing") {
    return (
      <div class="start">
        <p class="banner bad" role="alert">
          {t("edit.missing")}
        </p>
        <Picker label={t("edit.picture")} value="" onChange={(other) => go("edit", other)} />
      </div>
    );
  }
  if (!image) return <p class="soft">{t("state.loading")}</p>;
  return <Editor id={id} image={image} />;
}

function Editor({ id, image }: { id: string; image: HTMLImageElement }) {
  const size = sizeOf(image);
  const longest = Math.max(size.width, size.height);
  const paper = paperOf(id);
  const fields = form("edit");
  const box = useSignal(middleOf(size));
  const [kind, setKind] = useState<Kind>("brush");
  const [shown, show] = useState<Drawn | null>(null);
  const [held, hold] = useState(false);
  const [sending, send] = useState(false);
  const { done } = paper.value.strokes;
  const empty = useMemo(
    () => done.length === 0 || share(maskOf(done, size, Math.min(1, 256 / longest))) === 0,
    [done],
  );
  const prompt = paper.value.prompt ?? promptOf(id);
  const largest = Math.max(2, Math.round(longest / 4));
  const radius = Math.min(largest, Math.max(1, Math.round(width.value * longest)));
  const setRadius = (pixels: number) => {
    width.value = pixels / longest;
  };
  const own = jobsFrom("edit", id);

  useEffect(() => void askPrompt(id), [id]);
  useFirstResult(own, show);
  useKeys({
    b: () => setKind("brush"),
    x: () => setKind("eraser"),
    r: () => setKind("rectangle"),
    "[": () => setRadius(nextRadius(radius, -1, largest)),
    "]": () => setRadius(nextRadius(radius, 1, largest)),
    undo: () => back(paper),
    redo: () => forth(paper),
    compare: hold,
  });

  const submit = async () => {
    if (sending || empty || !prompt.trim()) return;
    send(true);
    await attempt(async () => {
      const mask = await upload(await pngOf(pixelsOf(maskOf(done, size)), size));
      if (!mask) return;
      const inputs = { image: id, mask: mask.id };
      const job = await draw(asked("edit", { ...fields.value, prompt }, inputs));
      learnDigest(id, job);
      awaited.current = job.id;
    });
    send(false);
  };
  const toMask = () => {
    show(null);
    // The button that had the focus is not there any more.
    requestAnimationFrame(() => document.querySelector<HTMLElement>(".stage > canvas")?.focus());
  };
  const instead = held || !shown ? null : fileOf(shown);
  return (
    <form
      class="edit"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <div class="edit-prompt">
        <Prompt
          label={t("edit.prompt")}
          placeholder={t("edit.placeholder")}
          value={prompt}
          disabled={empty || sending}
          onChange={(text) => {
            paper.value = { ...paper.value, prompt: text };
          }}
          onSubmit={() => void submit()}
        />
        <p id="edit-help" class="soft small">
          {t(empty ? "edit.help" : "edit.help.painted")}
        </p>
      </div>
      <div class="stack tight">
        <Stage
          image={image}
          paper={paper}
          kind={kind}
          radius={radius}
          box={box}
          hideMask={held}
          instead={instead}
          label={shown && !held ? t("edit.result") : t("edit.original")}
        />
        {shown ? (
          <Shown picture={shown} held={held} onHold={hold} onBack={toMask} />
        ) : (
          <Tools
            paper={paper}
            size={size}
            kind={kind}
            radius={radius}
            largest={largest}
            box={box}
            empty={empty}
            onKind={setKind}
            onRadius={setRadius}
          />
        )}
      </div>
      <div class="stack">
        <div class="results">
          <Results jobs={own} shown={shown?.id ?? null} onShow={show} />
        </div>
        <Count tool="edit" fields={fields} />
        {ability("edit") && (
          <Settings
            tool="edit"
            fields={fields.value}
            without={["prompt", "n", "box"]}
            onChange={(name, value) => set(fields, name, value)}
          />
        )}
        <a class="small" href={href("edit")}>
          {t("edit.another")}
        </a>
      </div>
    </form>
  );
}

interface ShownProps {
  picture: Drawn;
  held: boolean;
  onHold: (held: boolean) => void;
  onBack: () => void;
}

/** What can be done with the result that is shown in the picture's place. */
function Shown({ picture, held, onHold, onBack }: ShownProps) {
  return (
    <div class="row tools">
      <span class="group">
        <Button icon="brush" label={t("edit.back")} onClick={onBack} />
        <Hold icon="eye" shortcut="C" label={t("edit.compare")} held={held} onHold={onHold} />
      </span>
      <span class="group">
        <a class="button" href={href("edit", picture.id)}>
          <Icon name="edit" />
          {t("edit.next")}
        </a>
        <a class="button" href={href("picture", picture.id)}>
          {t("action.open")}
        </a>
        <Button
          bare
          icon="download"
          label={t("action.download")}
          onClick={() => download(picture)}
        />
      </span>
    </div>
  );
}

/** The job whose first picture is to be shown when it is done: the one asked for last. */
const awaited = { current: "" };

/** Show it over the picture that it began from alone: another may be open by then. */
function useFirstResult(own: readonly Job[], show: (picture: Drawn) => void): void {
  const job = own.find((one) => one.id === awaited.current);
  const first = job?.state === "done" ? job.pictures[0] : undefined;
  useEffect(() => {
    if (!first) return;
    awaited.current = "";
    show(first);
  }, [first?.id]);
}

type Keys = Record<"b" | "x" | "r" | "[" | "]" | "undo" | "redo", () => void> & {
  compare: (held: boolean) => void;
};

function useKeys(keys: Keys): void {
  const newest = useRef(keys);
  newest.current = keys;
  useEffect(() => {
    const down = (event: KeyboardEvent) => {
      if (isText(event.target) || document.querySelector("dialog[open]")) return;
      const key = event.key.toLowerCase();
      if (event.ctrlKey || event.metaKey) {
        if (key !== "z" && key !== "y") return;
        event.preventDefault();
        newest.current[key === "y" || event.shiftKey ? "redo" : "undo"]();
      } else if (event.altKey) return;
      else if (key === "c") newest.current.compare(true);
      else if (key in newest.current) newest.current[key as "b"]();
    };
    const up = (event: KeyboardEvent) => {
      if (event.key.toLowerCase() === "c") newest.current.compare(false);
    };
    addEventListener("keydown", down);
    addEventListener("keyup", up);
    return () => {
      removeEventListener("keydown", down);
      removeEventListener("keyup", up);
    };
  }, []);
}

export const edit: Tool = {
  id: "edit",
  title: "edit.title",
  icon: "edit",
  group: "change",
  needs: "edit",
  View: Edit,
};
