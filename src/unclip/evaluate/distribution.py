"""The report's part on distributions: how far drawn pictures are from real ones, as sets."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from . import metrics
from .bench import Bench
from .features import Net, clip_score
from .intervals import Share
from .report import Cell, Grid, Part, Section, Table, estimate, number, row, share, shown
from .science import DEFAULT

SIDE = 128

TEXT = (
    "Drawn pictures against a reference of real ones, through networks that took no part in the "
    "drawing. The floor is what other real pictures score against the same reference: the drawn "
    "pictures have the captions of the first of those sets, so that a perfect model would stand "
    "at the floor. Fréchet distances are biased by the number of pictures, which their names "
    "carry; they compare with others of the same name and of nothing else."
)


def measure(net: Net, real: Tensor, drawn: Tensor, seed: int) -> dict[str, Any]:
    """Every metric of two sets of features, as plain data."""
    precision, recall = metrics.precision_recall(real, drawn)
    density, coverage = metrics.density_coverage(real, drawn)
    return {
        "frechet": metrics.frechet(real, drawn),
        "frechet_deviation": metrics.frechet_deviation(real, drawn, seed),
        "kid": asdict(metrics.kid(real, drawn, size=_subset(real, drawn), seed=seed)),
        "mmd": metrics.mmd(real, drawn, net.bandwidth),
        "precision": [precision.right, precision.total],
        "recall": [recall.right, recall.total],
        "density": density,
        "coverage": [coverage.right, coverage.total],
    }


def _subset(real: Tensor, drawn: Tensor) -> int:
    """Half of the pictures where there are few: subsets that are all of them have no spread."""
    return max(2, min(metrics.KID_SIZE, min(len(real), len(drawn)) // 2))


def section(bench: Bench) -> Section:
    """Draw the twin's captions and measure."""
    drawn = bench.drawn(DEFAULT, bench.ground.twin)
    parts: list[Part] = []
    values: dict[str, Any] = {}
    for net in bench.nets:
        values[net.name] = {
            "drawn": bench.work.value(f"distribution/{net.key}", partial(_drawn, bench, net)),
            "floor": bench.work.value(f"floor/{net.key}", partial(_floor, bench, net)),
        }
        parts.append(_table(net, len(drawn), values[net.name]))
    scores = _scores(bench)
    if scores:
        values["clip_score"] = scores
        parts.append(_score_table(scores))
    parts += _grids(bench)
    bench.values["distribution"] = {"pictures": len(drawn), **values}
    return Section("distribution", "Distribution", TEXT, tuple(parts))


def _drawn(bench: Bench, net: Net) -> dict[str, Any]:
    real = bench.seen(net, "reference", bench.ground.reference)
    drawn = bench.seen(net, DEFAULT.name, bench.drawn(DEFAULT, bench.ground.twin))
    return measure(net, real, drawn, bench.seed)


def _floor(bench: Bench, net: Net) -> list[dict[str, Any]]:
    real = bench.seen(net, "reference", bench.ground.reference)
    sets = (bench.ground.twin, *bench.ground.twins)
    return [
        measure(net, real, bench.seen(net, f"twin{number}", one), bench.seed)
        for number, one in enumerate(sets)
    ]


def _table(net: Net, count: int, values: dict[str, Any]) -> Table:
    drawn, floors = values["drawn"], values["floor"]
    head = (
        "", f"FD-{net.name}@{count}", "KID ×10³", "MMD ×10³",
        "precision", "recall", "density", "coverage",
    )  # fmt: skip
    times = drawn["frechet"] / max(mean(floors, "frechet"), 1e-12)
    return Table(
        f"Seen by {net.name}",
        head,
        (
            row("drawn", *_cells(drawn)),
            row("floor: real against real", *_floor_cells(floors)),
        ),
        f"The Fréchet distance is {number(times, 2)} times the floor's. ± is one standard "
        "deviation: of FD from halves of the drawn set, of KID over its subsets, and at the floor "
        f"over {len(floors)} real sets. Intervals are Wilson's, 95 %.",
    )


def _cells(values: dict[str, Any]) -> list[Cell]:
    shares = {name: share(Share(*values[name])) for name in ("precision", "recall", "coverage")}
    return [
        estimate(values["frechet"], values["frechet_deviation"], strong=True),
        estimate(values["kid"]["value"], values["kid"]["deviation"], 1e3),
        Cell(number(1e3 * values["mmd"])),
        shares["precision"],
        shares["recall"],
        Cell(number(values["density"])),
        shares["coverage"],
    ]


def _floor_cells(floors: list[dict[str, Any]]) -> list[Cell]:
    def over(read: Any, scale: float = 1) -> Cell:
        found = torch.tensor([read(one) for one in floors], dtype=torch.float64)
        spread = float(found.std()) if len(found) > 1 else None
        return estimate(float(found.mean()), spread, scale)

    def part(name: str) -> Cell:
        return over(lambda one: one[name][0] / one[name][1])

    return [
        over(lambda one: one["frechet"]),
        over(lambda one: one["kid"]["value"], 1e3),
        over(lambda one: one["mmd"], 1e3),
        part("precision"),
        part("recall"),
        over(lambda one: one["density"]),
        part("coverage"),
    ]


def mean(values: list[dict[str, Any]], name: str) -> float:
    """Of one number over several measurements."""
    return float(sum(one[name] for one in values) / len(values))


def _scores(bench: Bench) -> dict[str, Any]:
    """CLIP scores of drawn pictures, of the true ones, and of captions dealt anew."""
    found: dict[str, Any] = {}
    twin = bench.ground.twin
    if not any(twin.captions):
        return found
    for net in bench.nets:
        if net.read is None:
            continue
        drawn = bench.seen(net, DEFAULT.name, bench.drawn(DEFAULT, twin))
        real = bench.seen(net, "twin0", twin)
        shifted = [*twin.captions[1:], twin.captions[0]]
        found[net.name] = {
            "drawn": asdict(clip_score(net, drawn, twin.captions)),
            "ceiling": asdict(clip_score(net, real, twin.captions)),
            "floor": asdict(clip_score(net, drawn, shifted)),
        }
    return found


def _score_table(scores: dict[str, Any]) -> Table:
    rows = []
    for name, one in scores.items():
        cells = [
            estimate(one[kind]["value"], one[kind]["error"], strong=kind == "drawn")
            for kind in ("drawn", "ceiling", "floor")
        ]
        rows.append(row(f"CLIP score, {name}", *cells))
    head = ("", "drawn", "ceiling: true pictures", "floor: another's caption")
    return Table(
        "Pictures and their captions",
        head,
        tuple(rows),
        "100 times the cosine, below 0 counted as 0; ± is the standard error.",
    )


def _grids(bench: Bench) -> list[Part]:
    """The first pictures as they came, and those that the leading net finds strangest."""
    twin = bench.ground.twin
    drawn = bench.drawn(DEFAULT, twin)
    count = min(bench.sizes.sample, len(drawn))
    first = Grid(
        f"The first {count}, none picked",
        shown([drawn.picture(number) for number in range(count)], SIDE),
        tuple(twin.captions[:count]),
        note=f"Picture i, counted from 0, is drawn from seed {bench.seed} + i.",
    )
    net = bench.nets[-1]
    away, _ = metrics.nearest(
        bench.seen(net, "reference", bench.ground.reference),
        bench.seen(net, DEFAULT.name, drawn),
    )
    worst = away.argsort(descending=True, stable=True)[: min(16, len(drawn))].tolist()
    failed = Grid(
        "Failures: the farthest from any real picture",
        shown([drawn.picture(number) for number in worst], SIDE),
        tuple(f"{twin.captions[number]} ({bench.seed + number})" for number in worst),
        note=f"By {net.name}'s features; the number is the seed.",
    )
    return [first, failed]
