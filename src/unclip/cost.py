"""The cost of a request, known before its first step."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

from .config import shown
from .errors import UsageError, counted

LIMIT = 1_000_000
"""Most sampling steps of a request, all pictures and stages together."""

BATCH = 16
"""Largest batch, so that memory does not grow with the number of pictures."""


BYTES = 3 * 4
"""Of a pixel that is drawn, in float32: three of them are those of a finished picture."""


@dataclass(frozen=True)
class Work:
    """The planned work of an ability."""

    pictures: int
    settings: Mapping[str, Any]  # flat settings of the sampling
    drawings: int  # runs of the decoder and the upsamplers, for one picture each
    prior_runs: int = 0
    inversions: int = 0
    size: tuple[int, int] | None = None  # height and width of each; None: the model's own
    inpaints: bool = False  # part of the picture is known
    upscales_only: bool = False  # runs no decoder
    further: int = 0  # drawings, and runs of the prior, under further clauses of AND
    then: Work | None = None  # what is done with the pictures after that

    def __add__(self, other: Work) -> Work:
        """Both, where settings and size are the same."""
        return replace(
            self,
            pictures=self.pictures + other.pictures,
            drawings=self.drawings + other.drawings,
            prior_runs=self.prior_runs + other.prior_runs,
            further=self.further + other.further,
            inversions=self.inversions + other.inversions,
            then=self.then and other.then and self.then + other.then,
        )


@dataclass(frozen=True)
class Cost:
    """Pictures, their (height, width), and sampling steps.

    `steps` counts the steps by stage, without those of inversions, which come first (`inverting`),
    and without those under further clauses of AND, which share a step's batch (`further`).
    """

    pictures: int
    size: tuple[int, int]
    steps: Mapping[str, int]
    inverting: int = 0
    further: int = 0

    @property
    def total(self) -> int:
        """Steps of all pictures and stages."""
        return self.inverting + self.further + sum(self.steps.values())

    def times(self, count: int) -> Cost:
        """The cost of `count` such requests."""
        steps = {name: count * steps for name, steps in self.steps.items()}
        inverting, further = count * self.inverting, count * self.further
        return Cost(count * self.pictures, self.size, steps, inverting, further)

    def __add__(self, other: Cost) -> Cost:
        names = dict.fromkeys((*self.steps, *other.steps))
        steps = {name: self.steps.get(name, 0) + other.steps.get(name, 0) for name in names}
        inverting, further = self.inverting + other.inverting, self.further + other.further
        return Cost(self.pictures + other.pictures, self.size, steps, inverting, further)

    def __str__(self) -> str:
        height, width = self.size
        steps = counted(self.total, "sampling step")
        return f"{counted(self.pictures, 'picture')} of {width:,}×{height:,} in up to {steps}"

    def check(self, limit: int | None) -> None:
        """Raise UsageError if there are more than `limit` steps."""
        if limit is None or self.total <= limit:
            return
        hours = self.total / 3_600_000
        raise UsageError(
            f"this would be {self}: {hours:,.1f} hours even at a millisecond a step; the limit is "
            f"{limit:,} steps: ask for less, or lift it (--no-limit, in Python pipe.limit = None)"
        )


@dataclass(frozen=True)
class Policy:
    """The limits of a pipeline.

    Args:
        limit: most sampling steps of a request, all pictures together.
        strict_words: reject prompts with words that the model does not know.
        on_cost: called with the cost of a request before its first step; raise to reject it.
    """

    limit: int | None = LIMIT
    strict_words: bool = False
    on_cost: Callable[[Cost], None] | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for a value of another type."""
        limit: object = self.limit
        count = isinstance(limit, Integral) and not isinstance(limit, bool)
        checks = {
            "limit": (count or limit is None, "a number of sampling steps, or None"),
            "strict_words": (isinstance(self.strict_words, bool), "True or False"),
            "on_cost": (self.on_cost is None or callable(self.on_cost), "a function, or None"),
        }
        for name, (right, wanted) in checks.items():
            if not right:
                raise UsageError(f"{name} must be {wanted}, got {shown(getattr(self, name))}")


def check_memory(pictures: int, size: tuple[int, int], finished: bool = True) -> None:
    """Raise UsageError if the pictures do not fit into this machine's memory.

    Args:
        pictures: number of pictures in one request.
        size: (height, width) of each.
        finished: whether each is made a picture before the next is drawn.
    """
    height, width = size
    needed, memory = (3 if finished else BYTES) * height * width * pictures, _memory()
    if needed > memory:
        raise UsageError(
            f"{counted(pictures, 'picture')} of {width:,}×{height:,} would stay in memory until "
            f"the last is drawn, {needed / 2**30:,.0f} GiB of {memory / 2**30:,.0f}: "
            "ask for fewer at a time"
        )


def _memory() -> float:
    """Bytes of this machine's memory; infinite if unknown."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return math.inf
