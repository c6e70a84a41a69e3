"""A run as one page, `report.html` in its folder: curves, previews, what happened, how to go on."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from .._version import __version__
from ..checkpoints.settings import leaves
from ..device import describe
from ..errors import UnclipError, counted
from ..files import atomic_file, write_text
from ..media import read_image, scale_to
from ..pages.raster import png
from ..pages.render import html
from ..pages.report import Cell, Curve, Grid, Line, Part, Report, Section, Table, number, row
from .loggers.jsonl import read_log
from .run import Run
from .state import best_state, load_values, saved_states

FILE = "report.html"

POINTS = 240
"""Most points of a curve; what lies between them is in their means."""

PREVIEWS = 3
"""Of each stage: the first, the last, and those evenly between them."""

PARTS = (
    ("Generator and critic", "loss", {"adversarial": "generator", "critic": "critic"}),
    ("How far apart the critic's logits are", "gap", {"gap": "true − made"}),
    ("Wrong captions that the critic finds", "share", {"mismatch_found": ""}),
    ("CLIP's feedback", "1 − cos", {"clip": ""}),
    ("Distance to the end of the teacher's path", "loss", {"consistency": ""}),
    (
        "Of the teacher's",
        "ratio",
        {"diversity": "diversity", "sharpness": "sharpness", "text_kept": "cosine to the text"},
    ),
    ("Pictures and their texts in CLIP", "cosine", {"text_cosine": ""}),
    ("What seeds change", "deviation", {"deviation": ""}),
    ("Sharpness", "Laplacian energy", {"energy": ""}),
    ("Values beyond .98", "share", {"saturated": "made"}),
)
"""Diagrams of what a loss is made of, and of its detectors: title, axis, names of metrics."""

_SIDE = 1200  # pixels of a preview, whose labels are still to be read
_FEW = 8  # points, of which no mean is drawn
_NOTES = 200  # the newest of them

Points = list[tuple[float, float]]
Log = list[dict[str, Any]]


def write_report(run: Run, again: str = "") -> Path:
    """Write the page anew, and each stage's loss as `STAGE/loss.png`. Raises OutputError.

    Args:
        run: its folder gets them.
        again: the command that goes on.
    """
    path, report = run.folder / FILE, report_of(run, again)
    write_text(path, html(report))
    for section in report.sections:
        losses = [one for one in section.parts if isinstance(one, Curve) and one.title == "Loss"]
        for curve in losses:
            with atomic_file(run.folder / section.title / "loss.png") as file:
                png(curve).save(file, format="PNG")
    return path


def report_of(run: Run, again: str = "") -> Report:
    """What is known of a run, from what is in its folder."""
    logs = {name: read_log(run.folder / name) for name in run.recipe.trained}
    begun = [name for name, log in logs.items() if log or run.saved.begun(name)]
    notes = [(name, line) for name in begun for line in logs[name] if "note" in line]
    sections = [
        Section("stages", "Stages", "", (_stages(run, logs),)),
        *(_stage(run, name, logs[name]) for name in begun),
        Section("happened", "What happened", "" if notes else "Nothing out of the ordinary.",
                (_notes(notes),) if notes else ()),
        Section("recipe", "Recipe", "All settings that are not a default of this version.",
                (_recipe(run),)),
    ]  # fmt: skip
    return Report(
        title=run.recipe.settings.name,
        lead=f"{_progress(run)}, as of {_now()}, on {describe(run.device)}.",
        headline=_headline(run, logs, begun),
        sections=tuple(sections),
        facts=tuple(_facts(run, again)),
        facts_title="How to go on",
    )


def _progress(run: Run) -> str:
    """'1 of 2 stages trained, 3 taken as they are'."""
    trained = run.recipe.trained
    done = sum(map(run.finished, trained))
    text = f"{done} of {counted(len(trained), 'stage')} trained"
    taken = len(run.recipe.stages) - len(trained)
    return text + (f", {counted(taken, 'taken as it is', 'taken as they are')}" if taken else "")


def _now() -> str:
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")


def _headline(run: Run, logs: dict[str, Log], begun: list[str]) -> tuple[tuple[str, Cell], ...]:
    """Of the stage that trains now, or was trained last."""
    if not begun:
        return ()
    name = begun[-1]
    last = _last(logs[name])
    done, steps = last.get("step", run.saved.steps_done(name)), run.recipe.trained[name].steps
    cells = [(f"{name}, step", Cell(f"{done:,}", f"of {steps:,}"))]
    if last.get("loss") is not None:
        cells.append(("loss", Cell(number(last["loss"]))))
    if best := best_state(run.folder / name / "states"):
        cells.append(("best validation loss", Cell(number(best.loss), f"step {best.step:,}")))
    if speed := last.get("images_per_second"):
        cells.append(("pictures a second", Cell(number(speed))))
    if (left := last.get("seconds_left")) and done < steps:
        cells.append(("time left", Cell(_duration(left))))
    return tuple(cells)


def _last(log: Log) -> dict[str, Any]:
    return next((line for line in reversed(log) if "loss" in line), {})


def _stages(run: Run, logs: dict[str, Log]) -> Table:
    """A row a stage."""
    rows = []
    for name in run.recipe.stages:
        train = run.recipe.stage(name).train
        if train is None:
            rows.append((Cell(name, "taken as it is"), *[Cell("–")] * 7))
            continue
        last, seconds = _last(logs[name]), _seconds(run, name)
        done = max(last.get("step", 0), run.saved.steps_done(name))
        best = best_state(run.folder / name / "states")
        peak = last.get("share_of_peak")
        cells = (
            Cell(f"{done:,}", f"of {train.steps:,}", (done / train.steps, 0, 0)),
            f"{train.batch_at(train.steps):,}",
            number(last.get("loss")),
            Cell(number(best.loss), f"step {best.step:,}") if best else "–",
            number(last.get("images_per_second")),
            f"{peak:.0%}" if peak else "–",
            _duration(seconds) if seconds else "–",
        )
        rows.append(row(name, *cells))
    head = ("stage", "steps", "batch", "loss", "best validation", "pictures/s", "of peak", "time")
    note = "of peak: arithmetic a second, of what a large product of matrices reaches here"
    return Table("", head, tuple(rows), note)


def _seconds(run: Run, name: str) -> float:
    states = saved_states(run.folder / name / "states")
    try:
        return float(load_values(states[-1])["seconds"]) if states else 0.0
    except (UnclipError, KeyError, TypeError, ValueError):
        return 0.0


def _stage(run: Run, name: str, log: Log) -> Section:
    """Its curves and previews."""
    parts: list[Part] = []
    if points := _points(log, "loss"):
        smooth = Line("mean", tuple(_thin(_smoothed(points))))
        raw = Line("", tuple(_thin(points)), faint=len(points) >= _FEW)
        lines = [raw, smooth] if len(points) >= _FEW else [raw]
        parts.append(Curve("Loss", "step", "loss", tuple(lines), log=_spans(points)))
    if points := _points(log, "validation"):
        lines = [Line("mean", tuple(points))]
        levels = sorted({key for line in log for key in line if key.startswith("validation_level")})
        lines += [Line(key[11:].replace("_", " "), tuple(_points(log, key))) for key in levels]
        every = [point for line in lines for point in line.points]
        note = "the same pictures, levels and noise each time"
        note += "; level 1 has the least noise" if levels else ""
        title = "Loss on held out pictures"
        parts.append(Curve(title, "step", "loss", tuple(lines), note=note, log=_spans(every)))
    parts += _metrics(log)
    for key, title, y in (
        ("validation_psnr", "PSNR of held out pictures", "dB"),
        ("grad_norm", "Norm of the gradient", "norm"),
        ("images_per_second", "Speed", "pictures a second"),
    ):
        if points := _points(log, key):
            lines = [Line("", tuple(_thin(points)))]
            parts.append(Curve(title, "step", y, tuple(lines), log=key == "grad_norm"))
    if previews := _previews(run.folder / name / "previews"):
        pictures, labels = zip(*previews, strict=True)
        parts.append(Grid("Previews", pictures, labels, columns=1))
    shown = tuple(_without_dots(part) for part in parts)
    return Section(f"stage-{name}", name, "", shown, beside=True)


def _metrics(log: Log) -> Iterable[Curve]:
    """Those of `PARTS` that there is something of."""
    for title, y, metrics in PARTS:
        found = {name: _points(log, key) for key, name in metrics.items()}
        lines = [Line(name, tuple(_thin(_smoothed(each)))) for name, each in found.items() if each]
        if lines:
            yield Curve(title, "step", y, tuple(lines))


def _without_dots(part: Part) -> Part:
    """A part; of a diagram that has one point, none: it says nothing of how anything changes."""
    if isinstance(part, Curve) and all(len(line.points) < 2 for line in part.lines):
        return replace(part, lines=())
    return part


def _points(log: Log, key: str) -> Points:
    return [(line["step"], line[key]) for line in log if isinstance(line.get(key), int | float)]


def _spans(points: Points) -> bool:
    """Whether values are so far apart that a logarithmic axis shows them better."""
    values = [y for _, y in points]
    return min(values) > 0 and max(values) > 8 * min(values)


def _smoothed(points: Points) -> Points:
    """The mean of a twentieth of all points around each."""
    reach = max(1, len(points) // 40)
    values = [y for _, y in points]
    windows = (values[max(0, at - reach) : at + reach + 1] for at in range(len(values)))
    return [(x, sum(w) / len(w)) for (x, _), w in zip(points, windows, strict=True)]


def _thin(points: Points) -> Points:
    """No more than `POINTS`, each the mean of some."""
    size = -(-len(points) // POINTS)
    groups = (points[at : at + size] for at in range(0, len(points), size))
    return [tuple(sum(v) / len(v) for v in zip(*one, strict=True)) for one in groups]


def _previews(folder: Path) -> list[tuple[Image.Image, str]]:
    files = sorted(folder.glob("step-*.png"))
    count = min(PREVIEWS, len(files))
    places = [round(n * (len(files) - 1) / max(1, count - 1)) for n in range(count)]
    found = []
    for file in (files[place] for place in places):
        try:
            picture = _preview(file, file.stat().st_mtime_ns)
        except (OSError, UnclipError):  # being replaced
            continue
        digits = file.stem.removeprefix("step-")
        found.append((picture, f"step {int(digits):,}" if digits.isdecimal() else file.stem))
    return found


@lru_cache(maxsize=16)
def _preview(file: Path, _written: int) -> Image.Image:
    picture = read_image(file)
    return picture if max(picture.size) <= _SIDE else scale_to(picture, _SIDE)


def _notes(notes: Sequence[tuple[str, dict[str, Any]]]) -> Table:
    rows = [row(f"{name}, step {line['step']:,}", str(line["note"])) for name, line in notes]
    note = f"the newest {_NOTES} of {len(rows):,}" if len(rows) > _NOTES else ""
    return Table("", ("when", "what"), tuple(rows[-_NOTES:]), note, words=True)


def _recipe(run: Run) -> Table:
    settings = run.recipe.settings.dump()
    given = {key: value for key, value in settings.items() if value and key != "card"}
    rows = [row(key, str(value)) for key, value in leaves(given, "")]
    return Table("", ("setting", "value"), tuple(rows), words=True)


def _facts(run: Run, again: str) -> Iterable[tuple[str, str]]:
    if again:
        yield "go on", again
    if (run.model / "model.json").is_file():
        yield "draw", f"unclip generate 'a red car' --model {run.model}"
    yield "folder", str(run.folder.absolute())
    yield "machine", f"{platform.node()}, {platform.platform()}, {torch.get_num_threads()} threads"
    yield (
        "versions",
        f"unclip {__version__}, Python {platform.python_version()}, PyTorch {torch.__version__}",
    )


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02}"
