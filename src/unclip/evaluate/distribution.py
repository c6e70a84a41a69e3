"""The report's part on distributions: how far drawn pictures are from real ones, as sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..pages.intervals import Share
from ..pages.report import Cell, Grid, Part, Section, Table, estimate, number, row, share, shown
from . import metrics
from .benchmark import Session
from .embedding_sources import DEFAULT
from .features import FeatureExtractor, clip_score

SIDE = 128

TEXT = (
    "Drawn pictures against a reference of real ones, through networks that took no part in the "
    "drawing. The floor is what other real pictures score against the same reference: the drawn "
    "pictures have the captions of the first of those sets, so that a perfect model would stand "
    "at the floor. Fréchet distances are biased by the number of pictures, which their names "
    "carry; they compare with others of the same name and of nothing else."
)


def measure(extractor: FeatureExtractor, real: Tensor, drawn: Tensor, seed: int) -> dict[str, Any]:
    """Every metric of two sets of features, as plain data."""
    precision, recall = metrics.precision_recall(real, drawn)
    density, coverage = metrics.density_coverage(real, drawn)
    # half of the pictures where there are few: subsets that are all of them have no spread
    size = max(2, min(metrics.KID_SIZE, min(len(real), len(drawn)) // 2))
    return {
        "frechet": metrics.frechet(real, drawn),
        "frechet_deviation": metrics.frechet_deviation(real, drawn, seed),
        "kid": asdict(metrics.kid(real, drawn, size=size, seed=seed)),
        "mmd": metrics.mmd(real, drawn, extractor.bandwidth),
        "precision": [precision.right, precision.total],
        "recall": [recall.right, recall.total],
        "density": density,
        "coverage": [coverage.right, coverage.total],
    }


def section(session: Session) -> Section:
    """Draw the captions of the held-out pictures and measure."""
    count = len(session.drawn(DEFAULT, session.benchmark.held_out))
    values: dict[str, Any] = {"pictures": count}
    parts: list[Part] = []
    for one in session.extractors:
        key, name = one.key, one.name
        values[name] = found = {
            "drawn": session.cache.value(f"distribution/{key}", partial(_drawn, session, one)),
            "floor": session.cache.value(f"floor/{key}", partial(_floor, session, one)),
        }
        distance = found["drawn"]["frechet"]
        floor = sum(each["frechet"] for each in found["floor"]) / len(found["floor"])
        times = number(distance / max(floor, 1e-12), 2)
        parts.append(_table(name, count, found, times))
        session.headline.append((f"FD-{name}@{count}", Cell(number(distance), f"{times} × floor")))
    scores = _scores(session)
    if scores:
        values["clip_score"] = scores
        parts.append(_score_table(scores))
    for name, score in scores.items():
        note = f"of {number(score['ceiling']['value'])}"
        session.headline.append(
            (f"CLIP score, {name}", Cell(number(score["drawn"]["value"]), note))
        )
    session.values["distribution"] = values
    parts += _grids(session)
    return Section("distribution", "Distribution", TEXT, tuple(parts))


def _drawn(session: Session, extractor: FeatureExtractor) -> dict[str, Any]:
    real = session.features(extractor, "reference", session.benchmark.reference)
    images = session.drawn(DEFAULT, session.benchmark.held_out)
    drawn = session.features(extractor, DEFAULT.name, images)
    return measure(extractor, real, drawn, session.seed)


def _floor(session: Session, extractor: FeatureExtractor) -> list[dict[str, Any]]:
    benchmark = session.benchmark
    real = session.features(extractor, "reference", benchmark.reference)
    sets = enumerate((benchmark.held_out, *benchmark.floors))
    others = (session.features(extractor, f"held-out-{at}", one) for at, one in sets)
    return [measure(extractor, real, other, session.seed) for other in others]


COLUMNS: dict[str, tuple[Callable[[dict[str, Any]], Any], float]] = {
    "KID ×10³": (lambda one: one["kid"]["value"], 1e3),
    "MMD ×10³": (lambda one: one["mmd"], 1e3),
    "precision": (lambda one: Share(*one["precision"]), 1),
    "recall": (lambda one: Share(*one["recall"]), 1),
    "density": (lambda one: one["density"], 1),
    "coverage": (lambda one: Share(*one["coverage"]), 1),
}
"""Of the table, after the Fréchet distance: what is read from `measure`, and its scale."""


def _table(name: str, count: int, values: dict[str, Any], times: str) -> Table:
    drawn, floors = values["drawn"], values["floor"]
    cells = [estimate(drawn["frechet"], drawn["frechet_deviation"], strong=True)]
    means = [_mean([one["frechet"] for one in floors], 1)]
    for title, (read, scale) in COLUMNS.items():
        found = read(drawn)
        deviation = drawn["kid"]["deviation"] if title.startswith("KID") else None
        of_share = isinstance(found, Share)
        cells.append(share(found) if of_share else estimate(found, deviation, scale))
        several = [read(one) for one in floors]
        means.append(_mean([one.value for one in several] if of_share else several, scale))
    return Table(
        f"Seen by {name}",
        ("", f"FD-{name}@{count}", *COLUMNS),
        (row("drawn", *cells), row("floor: real against real", *means)),
        f"The Fréchet distance is {times} times the floor's. ± is one standard "
        "deviation: of FD from halves of the drawn set, of KID over its subsets, and at the floor "
        f"over {len(floors)} real sets. Intervals are Wilson's, 95 %.",
    )


def _mean(values: list[float], scale: float) -> Cell:
    found = torch.tensor(values, dtype=torch.float64)
    return estimate(float(found.mean()), float(found.std()) if len(found) > 1 else None, scale)


def _scores(session: Session) -> dict[str, Any]:
    """CLIP scores of drawn pictures, of the true ones, and of captions dealt anew."""
    found: dict[str, Any] = {}
    images = session.benchmark.held_out
    captions = images.captions
    for one in session.extractors if any(captions) else ():
        if one.read is None:
            continue
        drawn = session.features(one, DEFAULT.name, session.drawn(DEFAULT, images))
        real = session.features(one, "held-out-0", images)
        shifted = [*captions[1:], captions[0]]
        pairs = {"drawn": (drawn, captions), "ceiling": (real, captions), "floor": (drawn, shifted)}
        found[one.name] = {
            kind: asdict(clip_score(one, seen, words)) for kind, (seen, words) in pairs.items()
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
    return Table(
        "Pictures and their captions",
        ("", "drawn", "ceiling: true pictures", "floor: another's caption"),
        tuple(rows),
        "100 times the cosine, below 0 counted as 0; ± is the standard error.",
    )


def _grids(session: Session) -> list[Part]:
    """The first pictures as they came, and those that the last extractor finds strangest."""
    images = session.benchmark.held_out
    drawn = session.drawn(DEFAULT, images)
    count = min(session.sizes.sample, len(drawn))
    first = Grid(
        f"The first {count}, none picked",
        shown(drawn.pictures(range(count)), SIDE),
        tuple(images.captions[:count]),
        note=f"Picture i, counted from 0, is drawn from seed {session.seed} + i.",
    )
    one = session.extractors[-1]
    away, _ = metrics.nearest(
        session.features(one, "reference", session.benchmark.reference),
        session.features(one, DEFAULT.name, drawn),
    )
    worst = away.argsort(descending=True, stable=True)[: min(16, len(drawn))].tolist()
    failed = Grid(
        "Failures: the farthest from any real picture",
        shown(drawn.pictures(worst), SIDE),
        tuple(f"{images.captions[at]} ({session.seed + at})" for at in worst),
        note=f"By {one.name}'s features; the number is the seed.",
    )
    return [first, failed]
