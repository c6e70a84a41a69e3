"""The report's part on scenes: does a picture show what its prompt asks for?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from ..evaluate.benchmark import Session
from ..media import to_tensor
from ..pages.intervals import Share
from ..pages.report import Cell, Grid, Part, Section, Table, row, share, shown
from .calibration import BAR, Calibration, calibrate
from .calibration import SEED as CALIBRATION_SEED
from .image_providers import ImageProvider, Order, ceiling, from_model, retrieval
from .judge import Judge
from .judges import Panel
from .options import emoji_sizes
from .scenes import CATEGORIES, FULL, Scene, make_scenes
from .verifier import BOTH, Verdicts, verify

SIDE = 128
FAILURES = 3  # of each category
TITLES = {
    "single": "single object", "two": "two objects", "count": "count", "colour": "colour",
    "position": "position", "binding": "binding: which has which colour", None: "all aspects right",
}  # fmt: skip

SPLITS = {
    "seen": "like training", "pairs": "held-out pairs", "colours": "held-out colours",
    "counts": "held-out counts",
}  # fmt: skip

TEXT = (
    "Prompts come with the composer's own specification, and judges that share neither method nor "
    "training say what a picture shows. A picture counts where they agree that it is right. The "
    "ceiling is what real renderings score, the floor what the same pictures score against another "
    "prompt of the category, and retrieval what the training picture with the nearest caption "
    "scores. The categories are in the manner of GenEval (arXiv 2310.11513); the numbers do not "
    "compare with its table."
)


def section(session: Session, panel: Panel) -> Section:
    """Draw every prompt and have every judge look."""
    sizes, size = emoji_sizes(session.sizes), session.benchmark.size
    asked, each = sizes.scenes, sizes.each
    scenes = make_scenes(panel.config, dict(FULL) if asked is None else dict.fromkeys(FULL, asked))
    provider = from_model(session.pipe, session.seed)
    others = {
        "ceiling": ceiling(panel.config, size),
        "retrieval": retrieval(panel.config, size=size),
    }
    model = verdicts_on(session, panel, "model", provider, scenes, each)
    found = {"model": model, "floor": model.shuffled(session.seed)}
    found |= {n: verdicts_on(session, panel, n, one, scenes, 1) for n, one in others.items()}
    session.values["verifier"] = {
        "prompts": len(scenes),
        "pictures_each": each,
        "judges": {judge.name: judge.hash for judge in panel.judges},
        **{name: one.summary() for name, one in found.items()},
    }
    best = {"all as asked": model.share(BOTH), "binding": model.share(BOTH, "binding")}
    session.headline[:0] = [
        (title, Cell(f"{one.value:.3f}", f"{one.interval[0]:.2f}–{one.interval[1]:.2f}"))
        for title, one in best.items()
        if one.total
    ]
    parts: list[Part] = [_table(found, len(scenes), each), _splits(model)]
    parts += [*calibration(session, panel), *_failures(session, model, provider)]
    return Section("verifier", "Does it draw what was asked for?", TEXT, tuple(parts))


def verdicts_on(
    session: Session,
    panel: Panel,
    name: str,
    provider: ImageProvider,
    scenes: Sequence[Scene],
    each: int,
) -> Verdicts:
    """What the judges say of pictures, kept line by line in the cache."""
    mark = "-".join(judge.hash[:6] for judge in panel.judges)
    path = session.cache.folder / "verdicts" / f"{name}-{mark}.jsonl"
    report = session.on_progress(f"judging {name}")
    return verify(provider, scenes, panel.judges, each, path=path, on_step=report)


def by_category(
    title: str,
    columns: Mapping[str, Callable[[str | None], Share]],
    note: str,
    strong: int = 0,
    bars: int = 0,
) -> Table:
    """A table of shares with a row a category, and one for all (None).

    Args:
        title: of the table.
        columns: head -> the share of a category; without any, a row is left out.
        note: below it.
        strong: so many columns stand out.
        bars: so many columns have a bar below each share.
    """
    rows = []
    for category in (*CATEGORIES, None):
        shares = [read(category) for read in columns.values()]
        if any(one.total for one in shares):
            cells = [share(one, n < bars, n < strong) for n, one in enumerate(shares)]
            rows.append(row(TITLES[category], *cells))
    return Table(title, ("", *columns), tuple(rows), note)


def _table(found: dict[str, Verdicts], prompts: int, each: int) -> Table:
    model = found["model"]
    judges = model.judges if len(model.judges) > 1 else ()
    columns = {"both judges agree" if judges else model.judges[0]: partial(model.share, BOTH)}
    columns |= {judge: partial(model.share, judge) for judge in judges}
    others = {"ceiling: real": "ceiling", "floor: shuffled": "floor", "retrieval": "retrieval"}
    columns |= {head: partial(found[name].share, BOTH) for head, name in others.items()}
    note = f"{prompts:,} prompts × {each}; intervals are Wilson's, 95 %."
    agreement = model.summary().get("agreement")
    if agreement:
        note += (
            f" The judges agree on {100 * agreement['share']:.1f} % of the pictures "
            f"(Cohen's kappa {agreement['kappa']:.2f})."
        )
    return by_category("Shares of pictures that are right", columns, note, strong=1, bars=1)


def _splits(model: Verdicts) -> Table:
    """The same shares where training held something out."""
    columns = {head: partial(model.share, BOTH, split=split) for split, head in SPLITS.items()}
    return by_category(
        "By what training held out", columns, "Both judges agreeing.", bars=len(columns)
    )


REJECTED = {
    "object": "rejects another object", "count": "rejects another count",
    "colour": "rejects exchanged or other colours", "relation": "rejects the opposite relation",
    "ground": "rejects another background",
}  # fmt: skip


def calibration(session: Session, panel: Panel) -> list[Part]:
    """How reliable each judge is; once in a report, where judges first speak."""
    if "admission" in session.values or not panel.judges:
        return []
    each, size = emoji_sizes(session.sizes).calibration, session.benchmark.size

    def measured(judge: Judge) -> dict[str, Any]:
        report = session.on_progress(f"calibrating the {judge.name}")
        return calibrate(judge, panel.config, each, size=size, on_progress=report).dump()

    found = []
    for one in panel.judges:
        name = f"admission/{one.name}-{one.hash}"
        found.append(Calibration.parse(session.cache.value(name, partial(measured, one))))
    session.values["admission"] = {
        "bar": BAR, "each": each, "side": size[0], "seed": CALIBRATION_SEED,
        "judges": {one.judge: one.dump() for one in found},
    }  # fmt: skip
    session.headline[:0] = [
        (f"judge {one.judge}", Cell("NOT reliable", "its table says why"))
        for one in found
        if not one.reliable
    ]
    return [calibration_table(found, each)]


def calibration_table(found: list[Calibration], each: int) -> Table:
    """A column a judge."""

    def over(title: str, read: Callable[[Calibration], Cell]) -> tuple[Cell, ...]:
        return row(title, *map(read, found))

    def rejection(kind: str) -> Callable[[Calibration], Cell]:
        return lambda one: share(one.rejected.get(kind), bar=False)

    rows = [
        over("", lambda one: Cell("reliable" if one.reliable else "NOT reliable", strong=True)),
        over("right in every aspect", lambda one: share(one.right["all"], bar=False)),
        over("lowest of the categories", lambda one: _lowest(one.right, TITLES)),
        over("lowest of the colours", lambda one: _lowest(one.colours, {})),
        *(over(title, rejection(kind)) for kind, title in REJECTED.items()),
        over("calls unknown what is none of its nouns", lambda one: share(one.unknown, bar=False)),
        over("renderings", lambda one: Cell(f"{one.right['all'].total:,}")),
    ]
    note = (
        f"Renderings that no judge was trained on, {each} of each category, a quarter of them "
        "held out from training. A judge is reliable if it is right in at least "
        f"{BAR:.0%} of each category and rejects at least {BAR:.0%} of each kind of wrong prompt. "
        + " ".join(_refusal(one) for one in found if not one.reliable)
    )
    head = ("", *(one.judge for one in found))
    return Table("Are the judges reliable?", head, tuple(rows), note.rstrip())


def _refusal(one: Calibration) -> str:
    """Why a judge is not called reliable."""
    short = ", ".join(f"{name} {share.value:.1%}" for name, share in one.short.items())
    return f"The {one.judge} is NOT reliable: it stays below {BAR:.0%} ({short}); mind its scores."


def _lowest(shares: Mapping[str, Share], titles: Mapping[Any, str]) -> Cell:
    """The lowest of some shares, with its name."""
    some = {name: one for name, one in shares.items() if name != "all"}
    if not some:
        return Cell("–")
    name = min(some, key=lambda name: (some[name].value, some[name].interval))
    cell = share(some[name], bar=False)
    return replace(cell, note=f"{titles.get(name, name)}, {cell.note}")


def _failures(session: Session, model: Verdicts, provider: ImageProvider) -> list[Part]:
    """The first pictures of each category that every judge calls wrong."""
    chosen: list[Order] = []
    for category in CATEGORIES:
        wrong = [
            (model.scenes[one.scene], one.picture)
            for one in model.rows
            if model.scenes[one.scene].category == category
            and not any(model.right(one, judge) for judge in model.judges)
        ]
        chosen += wrong[:FAILURES]
    if not chosen:
        return []

    def draw(numbers: Sequence[int]) -> Tensor:
        return to_tensor(provider([chosen[number] for number in numbers]))

    names = ",".join(f"{scene.name}/{picture}" for scene, picture in chosen)
    name = f"drawn/failures-{hashlib.sha256(names.encode()).hexdigest()[:8]}"
    prompts = [scene.prompt for scene, _ in chosen]
    drawn = session.cache.drawn(name, prompts, draw, session.on_progress("drawing failures"))
    title = "Failures: the first that every judge calls wrong, of each kind"
    labels = tuple(f"{scene.category}: {scene.prompt}" for scene, _ in chosen)
    return [Grid(title, shown(drawn.pictures(range(len(drawn))), SIDE), labels, columns=6)]
