"""Whether pictures are copies: nearer to what training saw than to what it did not.

For each drawn picture the distance to the nearest of M training pictures is divided by that to the
nearest of M unseen pictures of the same distribution. A model that copies nothing is below 1 half
of the time, as a fresh real picture is; a copy is near 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..pages.intervals import Share
from ..pages.report import Cell, Grid, Section, Table, number, row, share, shown
from .benchmark import Session
from .embedding_sources import DEFAULT
from .image_set import ImageSet
from .metrics import nearest

SIDE = 128
TRIPLES = 8

TEXT = (
    "Of each drawn picture, the distance to the nearest picture that training saw, over the "
    "distance to the nearest one of as many that it did not. Whoever copies nothing is nearer to "
    "the training pictures half of the time, as fresh real pictures are; a copy has a ratio near 0."
)

COPY = 0.5
"""A picture is called a likely copy where the ratio is below."""


@dataclass(frozen=True)
class Copying:
    """Ratios of drawn pictures, (N,), and which pictures are nearest."""

    ratio: Tensor
    trained: Tensor  # (N,) number of the nearest training picture
    unseen: Tensor

    @property
    def nearer(self) -> Share:
        """Those nearer to a training picture; ties, which count for neither side, are halved."""
        less, same = int((self.ratio < 1).sum()), int((self.ratio == 1).sum())
        return Share(less + same // 2, len(self.ratio))

    @property
    def copies(self) -> Share:
        """Those below `COPY`."""
        return Share(int((self.ratio < COPY).sum()), len(self.ratio))

    @property
    def median(self) -> float:
        """Of the ratios."""
        return float(self.ratio.median())

    def worst(self, count: int) -> list[int]:
        """Numbers of the drawn pictures with the smallest ratios."""
        return [int(number) for number in self.ratio.argsort(stable=True)[:count]]


def copying(drawn: Tensor, trained: Tensor, unseen: Tensor) -> Copying:
    """Compare (N, D) with as many (M, D) of each kind.

    Raises:
        DataError: something is missing or no number.
    """
    least = min(len(trained), len(unseen))  # the larger pool would be nearer by its size
    to_trained, which_trained = nearest(trained[:least], drawn)
    to_unseen, which_unseen = nearest(unseen[:least], drawn)
    tiny = torch.finfo(torch.float64).tiny
    both_zero = (to_trained == 0) & (to_unseen == 0)
    ratio = torch.where(both_zero, 1.0, to_trained / to_unseen.clamp(min=tiny))
    return Copying(ratio, which_trained, which_unseen)


def section(session: Session) -> Section:
    """Measure in every extractor's features and in pixels."""
    benchmark = session.benchmark
    trained, unseen = benchmark.trained, benchmark.unseen
    assert trained is not None and unseen is not None
    drawn = session.drawn(DEFAULT, benchmark.held_out)
    spaces: dict[str, Callable[[str, ImageSet], Tensor]] = {
        one.name: partial(session.features, one) for one in session.extractors
    }
    spaces["pixels at 32×32"] = session.pixels
    rows, found = [], {}
    for name, space in spaces.items():
        pools = space("trained", trained), space("unseen", unseen)
        of_drawn = copying(space(DEFAULT.name, drawn), *pools)
        of_real = copying(space("held-out-0", benchmark.held_out), *pools)
        found[name] = (of_drawn, of_real)
        rows.append(row(name, *_cells(of_drawn), *_cells(of_real)))
    session.values["memorisation"] = {
        "pool": len(trained),
        **{name: {"drawn": _plain(a), "real": _plain(b)} for name, (a, b) in found.items()},
    }
    head = (
        "", "drawn: median ratio", f"nearer to training, of {len(drawn)}", f"below {COPY:g}",
        "fresh real: median ratio", "nearer to training", f"below {COPY:g}",
    )  # fmt: skip
    table = Table(
        f"Against {len(trained):,} training pictures and as many unseen ones",
        head,
        tuple(rows),
        "Intervals are Wilson's, 95 %. The pictures of the right half are real ones that training "
        "did not see: what they score is what no copying looks like.",
    )
    first = next(iter(found.values()))[0]
    copied = Cell(f"{100 * first.nearer.value:.0f} %", "50 % is none")
    session.headline.append(("nearer to training", copied))
    grid = _triples(first, drawn, trained, unseen)
    return Section("memorisation", "Memorisation", TEXT, (table, grid))


def _plain(one: Copying) -> dict[str, Any]:
    nearer, copies = one.nearer, one.copies
    return {
        "median": one.median,
        "nearer": [nearer.right, nearer.total],
        "copies": [copies.right, copies.total],
    }


def _cells(one: Copying) -> list[Cell]:
    return [Cell(number(one.median)), share(one.nearer), share(one.copies, bar=False)]


def _triples(found: Copying, drawn: ImageSet, trained: ImageSet, unseen: ImageSet) -> Grid:
    """The likeliest copies, each beside the nearest training picture and the nearest unseen one."""
    pictures, labels = [], []
    for at in found.worst(min(TRIPLES, len(drawn))):
        pictures += drawn.pictures([at])
        pictures += trained.pictures([int(found.trained[at])])
        pictures += unseen.pictures([int(found.unseen[at])])
        ratio = number(float(found.ratio[at]), 2)
        labels += [f"drawn: {drawn.captions[at]}", f"training, ratio {ratio}", "unseen"]
    title = "The likeliest copies, with the nearest training picture and the nearest unseen one"
    return Grid(title, shown(pictures, SIDE), tuple(labels), columns=6)
