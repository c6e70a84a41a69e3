"""How sure shares and other numbers are, and how far two judges agree beyond chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Share:
    """`right` of `total`."""

    right: int
    total: int

    @property
    def value(self) -> float:
        """As a number from 0 to 1; 0 of nothing."""
        return self.right / self.total if self.total else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of it, by Wilson."""
        return wilson(self.right, self.total)

    def dump(self) -> dict[str, Any]:
        """Plain data, rounded; `parse` reads it back."""
        low, high = self.interval
        return {
            "right": self.right,
            "total": self.total,
            "share": round(self.value, 4),
            "low": round(low, 4),
            "high": round(high, 4),
        }

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """From what `dump` gave."""
        return cls(values["right"], values["total"])


def wilson(right: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a share (Wilson, JASA 22 (1927), 209-212), without correction.

    Returns: (low, high) in 0..1; (0, 1) where nothing was counted.

    Raises:
        UsageError: `right` is not in 0..total, or `confidence` not between 0 and 1.
    """
    if not 0 <= right <= total:
        raise UsageError(f"right must be in 0..{total}, got {right}")
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must be between 0 and 1, got {confidence}")
    if not total:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, square = right / total, z * z / total
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / total + square / (4 * total))
    # at the ends the bound is the end itself, which rounding may miss
    return (max(middle - half, 0.0) if right else 0.0), (
        min(middle + half, 1.0) if right < total else 1.0
    )


def bootstrap(
    statistic: Callable[..., Numbers],
    *samples: Numbers,
    confidence: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile interval of a statistic (Efron & Tibshirani 1993, chapter 13): (low, high).

    A little too narrow for few values: that of a mean of n is by √(1 - 1/n).

    Args:
        statistic: of arrays (resamples, n), one for each sample, over their last axis.
        samples: (n,) each, drawn from independently.
        confidence: how much of the resamples the interval holds.
        resamples: how many.
        seed: of the resamples.
    """
    rng = np.random.default_rng(seed)
    drawn = [one[rng.integers(0, len(one), (resamples, len(one)))] for one in samples]
    outside = (1 - confidence) / 2
    low, high = np.quantile(statistic(*drawn), [outside, 1 - outside])
    return float(low), float(high)


def kappa(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Agreement of two judges beyond chance (Cohen, Educ. Psychol. Meas. 20 (1960), 37-46).

    1 is full agreement, 0 what chance alone gives. Judges that both give one and the same verdict
    on everything agree fully.

    Raises:
        UsageError: the two are not of one length, or empty.
    """
    if len(first) != len(second) or not first:
        raise UsageError(f"two judges' verdicts must be as many: {len(first)} and {len(second)}")
    total = len(first)
    same = sum(a == b for a, b in zip(first, second, strict=True)) / total
    yes, too = sum(first) / total, sum(second) / total
    chance = yes * too + (1 - yes) * (1 - too)
    return 1.0 if chance == 1 else (same - chance) / (1 - chance)
