"""The report's part on scenes: does a picture show what its prompt asks for?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from ..data.emoji import EmojiConfig, EmojiScenes
from ..facade import Pipeline
from ..media import to_pictures, to_tensor
from .admission import BAR, Admission, admit
from .admission import SEED as ADMISSION_SEED
from .album import Album
from .bench import Bench
from .drawers import by_model, ceiling, retrieval
from .intervals import Share
from .report import Cell, Grid, Part, Section, Table, row, share, shown
from .scenes import CATEGORIES, FULL, Scene, make_scenes
from .science import Way
from .seen import Judge
from .verifier import BOTH, Drawer, Order, Verdicts, verify

SIDE = 128
FAILURES = 3  # of each category
TITLES = {
    "single": "single object", "two": "two objects", "count": "count", "colour": "colour",
    "position": "position", "binding": "binding: which has which colour", None: "all aspects right",
}  # fmt: skip
OF_WAYS = ("binding", "position", "count")
"""The categories that ways to z_i are judged with: those that a z_i carries badly."""

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


def section(bench: Bench) -> Section:
    """Draw every prompt and have every judge look."""
    config = bench.ground.config
    assert config is not None
    scenes = make_scenes(config, _sizes(bench.sizes.scenes))
    side, each = bench.pipe.model.side, bench.sizes.each
    drawer = by_model(bench.pipe, bench.seed)
    model = verdicts_on(bench, "model", drawer, scenes, each)
    found = {
        "model": model,
        "ceiling": verdicts_on(bench, "ceiling", ceiling(config, side), scenes, 1),
        "floor": model.shuffled(bench.seed),
        "retrieval": verdicts_on(bench, "retrieval", retrieval(config, side=side), scenes, 1),
    }
    bench.values["verifier"] = {
        "prompts": len(scenes),
        "pictures_each": each,
        "judges": {judge.name: judge.hash for judge in bench.judges},
        **{name: one.summary() for name, one in found.items()},
    }
    parts: list[Part] = [_table(found, len(scenes), each), _splits(model), *admission(bench)]
    grid = _failures(bench, model, drawer)
    if grid is not None:
        parts.append(grid)
    return Section("verifier", "Does it draw what was asked for?", TEXT, tuple(parts))


def _sizes(each: int | None) -> dict[tuple[str, str], int]:
    return dict(FULL) if each is None else dict.fromkeys(FULL, each)


def verdicts_on(
    bench: Bench, name: str, drawer: Drawer, scenes: Sequence[Scene], each: int
) -> Verdicts:
    """What the judges say of pictures, kept line by line in the work folder."""
    mark = "-".join(judge.hash[:6] for judge in bench.judges)
    path = bench.work.folder / "verdicts" / f"{name}-{mark}.jsonl"
    report = bench.progress(f"judging {name}")
    return verify(drawer, scenes, bench.judges, each, path=path, on_step=report)


def of_way(
    bench: Bench, way: Way, pipe: Pipeline, scenes: Sequence[Scene], config: EmojiConfig
) -> Verdicts:
    """What the judges say of pictures that are drawn in one way, one of each prompt."""
    source = EmojiScenes(config, pipe.model.side)
    prompts = tuple(scene.prompt for scene in scenes)
    true = Album(prompts, lambda number: source.render(scenes[number].spec, pipe.model.side))
    number = {scene.name: index for index, scene in enumerate(scenes)}
    draw = way.drawer(pipe, true, bench.seed)

    def drawer(orders: Sequence[Order]) -> Any:
        return to_pictures(draw([number[scene.name] for scene, _ in orders]))

    return verdicts_on(bench, f"way-{way.name}", drawer, scenes, 1)


def way_scenes(bench: Bench) -> list[Scene]:
    """The prompts that each way is judged with, none where that was not asked for."""
    config = bench.ground.config
    if not bench.judges or config is None or not bench.sizes.ways:
        return []
    return make_scenes(config, {cell: bench.sizes.ways for cell in FULL if cell[0] in OF_WAYS})


def _table(found: dict[str, Verdicts], prompts: int, each: int) -> Table:
    model = found["model"]
    judges = model.judges if len(model.judges) > 1 else ()
    head = (
        "", "both judges agree" if judges else model.judges[0], *judges,
        "ceiling: real", "floor: shuffled", "retrieval",
    )  # fmt: skip
    rows = []
    for category in (*CATEGORIES, None):
        if not model.share(BOTH, category).total:
            continue
        cells = [_cell(model, BOTH, category, strong=True)]
        cells += [_cell(model, judge, category, bar=False) for judge in judges]
        others = ("ceiling", "floor", "retrieval")
        cells += [_cell(found[name], BOTH, category, bar=False) for name in others]
        rows.append(row(TITLES[category], *cells))
    note = f"{prompts:,} prompts × {each}; intervals are Wilson's, 95 %."
    agreement = model.summary().get("agreement")
    if agreement:
        note += (
            f" The judges agree on {100 * agreement['share']:.1f} % of the pictures "
            f"(Cohen's kappa {agreement['kappa']:.2f})."
        )
    return Table("Shares of pictures that are right", head, tuple(rows), note)


def _splits(model: Verdicts) -> Table:
    """The same shares where training held something out."""
    rows = []
    for category in (*CATEGORIES, None):
        cells: list[Cell] = []
        for split in SPLITS:
            there = model.share(BOTH, category, split).total
            cells.append(_cell(model, BOTH, category, split) if there else Cell("–"))
        if any(cell.text != "–" for cell in cells):
            rows.append(row(TITLES[category], *cells))
    head = ("", *SPLITS.values())
    return Table("By what training held out", head, tuple(rows), "Both judges agreeing.")


def _cell(
    found: Verdicts,
    judge: str,
    category: str | None,
    split: str | None = None,
    *,
    bar: bool = True,
    strong: bool = False,
) -> Cell:
    return share(found.share(judge, category, split), bar, strong)


REJECTED = {
    "object": "rejects another object", "count": "rejects another count",
    "colour": "rejects exchanged or other colours", "relation": "rejects the opposite relation",
    "ground": "rejects another ground",
}  # fmt: skip


def admission(bench: Bench) -> list[Part]:
    """Whether each judge is fit to judge; once in a report, where judges first speak."""
    config = bench.ground.config
    if "admission" in bench.values or config is None or not bench.judges:
        return []
    each, side = bench.sizes.admission, bench.pipe.model.side
    found: list[Admission] = []
    for judge in bench.judges:

        def make(judge: Judge = judge) -> dict[str, Any]:
            report = bench.progress(f"{judge.name} is admitted")
            return admit(judge, config, each, side=side, on_progress=report).dump()

        kept = bench.work.value(f"admission/{judge.name}-{judge.hash}", make)
        found.append(Admission.parse(kept))
    bench.values["admission"] = {
        "bar": BAR, "each": each, "side": side, "seed": ADMISSION_SEED,
        "judges": {one.judge: one.dump() for one in found},
    }  # fmt: skip
    return [_admission_table(found, each)]


def _admission_table(found: list[Admission], each: int) -> Table:
    """A column a judge."""

    def over(title: str, read: Callable[[Admission], Cell]) -> tuple[Cell, ...]:
        return row(title, *(read(one) for one in found))

    def rejection(kind: str) -> Callable[[Admission], Cell]:
        return lambda one: _share_or_none(one.rejected.get(kind))

    rows = [
        over("", lambda one: Cell("admitted" if one.admitted else "NOT admitted", strong=True)),
        over("right in every aspect", lambda one: share(one.right["all"], bar=False)),
        over("lowest of the categories", lambda one: _lowest(one.right, TITLES)),
        over("lowest of the colours", lambda one: _lowest(one.colours, {})),
        *(over(title, rejection(kind)) for kind, title in REJECTED.items()),
        over("calls unknown what is none of its nouns", lambda one: _share_or_none(one.unknown)),
        over("renderings", lambda one: Cell(f"{one.right['all'].total:,}")),
    ]
    note = (
        f"Renderings that no judge was trained on, {each} of each category, a quarter of them of "
        "what training holds out. Admitted is who is right in at least "
        f"{BAR:.0%} of each category and rejects at least {BAR:.0%} of each kind of falsehood. "
        + " ".join(_refusal(one) for one in found if not one.admitted)
    )
    head = ("", *(one.judge for one in found))
    return Table("Are the judges fit to judge?", head, tuple(rows), note.rstrip())


def _refusal(one: Admission) -> str:
    """Why a judge is not admitted, in plain words."""
    short = ", ".join(f"{name} {share.value:.1%}" for name, share in one.short.items())
    return f"The {one.judge} is NOT admitted: it stays below {BAR:.0%} ({short}); mind its scores."


def _lowest(shares: Mapping[str, Share], titles: Mapping[Any, str]) -> Cell:
    """The lowest of some shares, with its name."""
    some = {name: one for name, one in shares.items() if name != "all"}
    if not some:
        return Cell("–")
    name = min(some, key=lambda name: (some[name].value, some[name].interval))
    cell = share(some[name], bar=False)
    return replace(cell, note=f"{titles.get(name, name)}, {cell.note}")


def _share_or_none(one: Share | None) -> Cell:
    return share(one, bar=False) if one else Cell("–")


def _failures(bench: Bench, model: Verdicts, drawer: Drawer) -> Grid | None:
    """The first pictures of each category that both judges call wrong."""
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
        return None
    prompts = [scene.prompt for scene, _ in chosen]

    def draw(numbers: Sequence[int]) -> Tensor:
        return to_tensor(drawer([chosen[number] for number in numbers]))

    names = ",".join(f"{scene.name}/{picture}" for scene, picture in chosen)
    mark = hashlib.sha256(names.encode()).hexdigest()[:8]
    report = bench.progress("drawing failures")
    drawn = bench.work.drawn(f"drawn/failures-{mark}", prompts, draw, report)
    labels = tuple(f"{scene.category}: {scene.prompt}" for scene, _ in chosen)
    return Grid(
        "Failures: the first that every judge calls wrong, of each kind",
        shown([drawn.picture(number) for number in range(len(drawn))], SIDE),
        labels,
        columns=6,
    )
