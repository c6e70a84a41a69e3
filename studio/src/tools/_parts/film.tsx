/** Frames as a film: played, or moved through by a slider; each melts into the next. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { Drawn } from "../../api/types";
import { t } from "../../i18n";
import { kept } from "../../state/kept";
import { fileOf, saveBlob, thumbnailOf } from "../../state/pictures";
import { attempt } from "../../state/toasts";
import { Button } from "../../ui/button";
import { Slider } from "../../ui/field";
import { PictureCard } from "../../ui/picture";
import { animate, zip } from "./pack";
import { nextFrame, opacityAt, order, placeAt } from "./timing";

const speed = kept("film.speed", 6);
const back = kept("film.back", true);

interface Props {
  frames: readonly Drawn[];
  title: string;
  /** What its ends show. */
  from: string;
  to: string;
  /** Whether it plays as soon as it is there. */
  plays: boolean;
}

export function Film({ frames, title, from, to, plays }: Props) {
  const [playing, play] = useState(plays && !isStill());
  const [place, move] = useState(0);
  const count = frames.length;
  useClock(playing, place, count, (at) => {
    move(at);
    if (!back.value && at >= count - 1) play(false);
  });
  const go = (at: number) => {
    play(false);
    move(at);
  };
  const toggle = () => {
    if (!playing && !back.value && place >= count - 1) move(0);
    play(!playing);
  };
  const near = Math.round(place);
  return (
    <div class="film">
      <div class="film-screen">
        {frames.map((one, i) => (
          <img
            key={one.id}
            src={fileOf(one)}
            width={one.width}
            height={one.height}
            alt={i === near ? t("film.frame", { i: i + 1, n: count, title }) : ""}
            aria-hidden={i === near ? undefined : true}
            style={{ opacity: opacityAt(i, place) }}
          />
        ))}
      </div>
      <div class="film-bar">
        <Button
          bare
          kind="primary"
          icon={playing ? "pause" : "play"}
          label={t(playing ? "film.pause" : "film.play")}
          onClick={toggle}
        />
        <span class="film-end small" title={from}>
          {from}
        </span>
        <input
          type="range"
          class="grow"
          aria-label={t("film.slider")}
          aria-valuetext={t("film.frame", { i: near + 1, n: count, title })}
          min={0}
          max={count - 1}
          step={0.02}
          value={place}
          onInput={(event) => go(Number(event.currentTarget.value))}
          onKeyDown={(event) => {
            const by = KEYS[event.key];
            if (!by) return;
            event.preventDefault();
            go(nextFrame(place, by, count));
          }}
        />
        <span class="film-end small" title={to}>
          {to}
        </span>
      </div>
      <div class="film-more">
        <Slider
          label={t("film.speed")}
          shown={t("film.perSecond", { n: speed.value })}
          value={speed.value}
          minimum={1}
          maximum={24}
          step={1}
          onChange={(value) => {
            speed.value = value;
          }}
        />
        <div class="row">
          <Button
            icon="redo"
            pressed={back.value}
            label={t("film.back")}
            onClick={() => {
              back.value = !back.value;
            }}
          />
          <Button
            icon="download"
            label={t("film.zip")}
            onClick={() => void attempt(() => asZip(frames))}
          />
          {frames.every((one) => one.format === "png") && (
            <Button
              icon="download"
              label={t("film.animation")}
              onClick={() => void attempt(() => asAnimation(frames))}
            />
          )}
        </div>
      </div>
      <ul class="frames" aria-label={t("film.frames")}>
        {frames.map((one, i) => (
          <li key={one.id}>
            <button
              type="button"
              class="thumb"
              aria-pressed={i === near}
              aria-label={t("film.frame", { i: i + 1, n: count, title })}
              onClick={() => go(i)}
            >
              <img src={thumbnailOf(one)} alt="" loading="lazy" />
            </button>
          </li>
        ))}
      </ul>
      {!playing && frames[near] && (
        <details class="fold">
          <summary>{t("film.this", { i: near + 1 })}</summary>
          <div class="film-card">
            <PictureCard
              picture={frames[near]}
              label={t("film.frame", { i: near + 1, n: count, title })}
            />
          </div>
        </details>
      )}
    </div>
  );
}

const KEYS: Record<string, 1 | -1> = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 };

function isStill(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** Tells the place at every frame of the screen while it plays, from where it was. */
function useClock(playing: boolean, place: number, count: number, tell: (at: number) => void) {
  const told = useRef(tell);
  told.current = tell;
  const from = useRef(place);
  from.current = place;
  const pace = speed.value;
  const round = back.value;
  useEffect(() => {
    if (!playing) return;
    const begun = performance.now() - (1000 * from.current) / pace;
    let next = requestAnimationFrame(function show(now) {
      told.current(placeAt((now - begun) / 1000, count, pace, round));
      next = requestAnimationFrame(show);
    });
    return () => cancelAnimationFrame(next);
  }, [playing, count, pace, round]);
}

async function bytesOf(frames: readonly Drawn[]): Promise<Uint8Array[]> {
  const read = async (one: Drawn) => {
    const answer = await fetch(fileOf(one));
    if (!answer.ok) throw new Error(t("error.offline"));
    return new Uint8Array(await answer.arrayBuffer());
  };
  return Promise.all(frames.map(read));
}

async function asZip(frames: readonly Drawn[]): Promise<void> {
  const all = await bytesOf(frames);
  const entries = all.map((data, i) => ({
    name: `${String(i + 1).padStart(2, "0")}.${frames[i]?.format ?? "png"}`,
    data,
  }));
  saveBlob(new Blob([zip(entries)], { type: "application/zip" }), "frames.zip");
}

async function asAnimation(frames: readonly Drawn[]): Promise<void> {
  const all = await bytesOf(frames);
  const shown = order(all.length, back.value).map((i) => all[i] as Uint8Array);
  saveBlob(new Blob([animate(shown, speed.value)], { type: "image/apng" }), "film.png");
}
