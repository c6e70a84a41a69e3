/** Two pictures of the same, one over the other, with a divider between them. */
import { useRef, useState } from "preact/hooks";
import { t } from "../../i18n";
import { Segments } from "../../ui/field";

interface Props {
  before: string;
  after: string;
  title: string;
  width: number;
  height: number;
}

const ZOOMS = ["1", "2", "4"] as const;

export function Compare({ before, after, title, width, height }: Props) {
  const [share, move] = useState(0.5);
  const [zoom, setZoom] = useState<(typeof ZOOMS)[number]>("1");
  const [gone, lose] = useState(false);
  const inner = useRef<HTMLDivElement>(null);
  const drag = (event: PointerEvent) => {
    const box = inner.current?.getBoundingClientRect();
    if (box) move(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
  };
  return (
    <div class="compare">
      <section class="compare-view" tabIndex={zoom === "1" ? -1 : 0} aria-label={title}>
        <div
          class="compare-inner"
          ref={inner}
          style={{ width: `${Number(zoom) * 100}%`, aspectRatio: `${width} / ${height}` }}
          onPointerDown={(event) => {
            const onHandle = (event.target as Element).closest(".compare-handle");
            if (event.button !== 0 || (!onHandle && event.pointerType === "touch")) return;
            event.preventDefault();
            (event.currentTarget as Element).setPointerCapture(event.pointerId);
            drag(event);
          }}
          onPointerMove={(event) => {
            if ((event.currentTarget as Element).hasPointerCapture(event.pointerId)) drag(event);
          }}
        >
          <img src={after} alt={t("compare.after", { title })} draggable={false} />
          {!gone && (
            <img
              src={before}
              alt={t("compare.before", { title })}
              draggable={false}
              onError={() => lose(true)}
              style={{ clipPath: `inset(0 ${100 - 100 * share}% 0 0)` }}
            />
          )}
          <span class="compare-label">{t("tools.before")}</span>
          <span class="compare-label right">{t("tools.after")}</span>
          <div class="compare-handle" style={{ left: `${100 * share}%` }} aria-hidden="true">
            <span />
          </div>
        </div>
      </section>
      <div class="row">
        <input
          type="range"
          class="grow"
          aria-label={t("compare.slider")}
          min={0}
          max={1}
          step={0.01}
          value={share}
          onInput={(event) => move(Number(event.currentTarget.value))}
        />
        <Segments
          label={t("compare.zoom")}
          value={zoom}
          options={ZOOMS.map((one) => [one, `${one}×`] as const)}
          onChange={setZoom}
        />
      </div>
    </div>
  );
}
