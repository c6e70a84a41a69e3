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

from .album import Album
from .bench import Bench
from .intervals import Share
from .metrics import nearest
from .report import Cell, Grid, Part, Section, Table, number, row, share, shown
from .science import DEFAULT

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


def section(bench: Bench) -> Section:
    """Measure in every net's features and in pixels."""
    ground = bench.ground
    assert ground.trained is not None and ground.unseen is not None
    drawn = bench.drawn(DEFAULT, ground.twin)
    looks: dict[str, Callable[[str, Album], Tensor]] = {
        net.name: partial(bench.seen, net) for net in bench.nets
    }
    looks["pixels at 32×32"] = bench.small
    rows, values = [], {}
    worst: Copying | None = None
    for name, look in looks.items():
        pools = look("trained", ground.trained), look("unseen", ground.unseen)
        of_drawn = copying(look(DEFAULT.name, drawn), *pools)
        of_real = copying(look("twin0", ground.twin), *pools)
        values[name] = {"drawn": _plain(of_drawn), "real": _plain(of_real)}
        rows.append(row(name, *_cells(of_drawn), *_cells(of_real)))
        worst = worst or of_drawn
    bench.values["memorisation"] = {"pool": len(ground.trained), **values}
    head = (
        "", "drawn: median ratio", f"nearer to training, of {len(drawn)}", f"below {COPY:g}",
        "fresh real: median ratio", "nearer to training", f"below {COPY:g}",
    )  # fmt: skip
    table = Table(
        f"Against {len(ground.trained):,} training pictures and as many unseen ones",
        head,
        tuple(rows),
        "Intervals are Wilson's, 95 %. The pictures of the right half are real ones that training "
        "did not see: what they score is what no copying looks like.",
    )
    assert worst is not None
    parts: tuple[Part, ...] = (table, _triples(bench, drawn, worst))
    return Section("memorisation", "Memorisation", TEXT, parts)


def _plain(one: Copying) -> dict[str, Any]:
    nearer, copies = one.nearer, one.copies
    return {
        "median": one.median,
        "nearer": [nearer.right, nearer.total],
        "copies": [copies.right, copies.total],
    }


def _cells(one: Copying) -> list[Cell]:
    return [Cell(number(one.median)), share(one.nearer), share(one.copies, bar=False)]


def _triples(bench: Bench, drawn: Album, found: Copying) -> Grid:
    """The likeliest copies, each beside the nearest training picture and the nearest unseen one."""
    trained, unseen = bench.ground.trained, bench.ground.unseen
    assert trained is not None and unseen is not None
    pictures, labels = [], []
    for at in found.worst(min(TRIPLES, len(drawn))):
        pictures += [
            drawn.picture(at),
            trained.picture(int(found.trained[at])),
            unseen.picture(int(found.unseen[at])),
        ]
        ratio = number(float(found.ratio[at]), 2)
        labels += [f"drawn: {drawn.captions[at]}", f"training, ratio {ratio}", "unseen"]
    title = "The likeliest copies, with the nearest training picture and the nearest unseen one"
    return Grid(title, shown(pictures, SIDE), tuple(labels), columns=6)
