"""Whether pictures are copies: nearer to what training saw than to what it did not.

For each drawn picture the distance to the nearest of M training pictures is divided by that to the
nearest of M unseen pictures of the same distribution. A model that copies nothing is below 1 half
of the time, as a fresh real picture is; a copy is near 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .album import Album, OnProgress
from .metrics import Share, nearest

SIDE = 32
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


def pixels(album: Album, on_progress: OnProgress | None = None) -> Tensor:
    """(N, 3072) float64: every picture at 32x32, averaged, in [-1, 1]."""
    found: list[Tensor] = []
    for batch in album.batches(64):
        small = (
            batch if batch.shape[-1] == SIDE else F.interpolate(batch, (SIDE, SIDE), mode="area")
        )
        found.append(small.flatten(1).double())
        if on_progress:
            on_progress(min(64 * len(found), len(album)), len(album))
    return torch.cat(found) if found else torch.zeros(0, 3 * SIDE * SIDE, dtype=torch.float64)
