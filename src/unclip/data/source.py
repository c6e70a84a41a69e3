"""What every data source is: an endless stream of samples that is a pure function of position."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self, TypedDict

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..vocabulary import Vocabulary

SAMPLED = 20_000
"""Captions that a vocabulary is taken from, where a source has no end."""


class Sample(TypedDict, total=False):
    """One training example. Every source gives `image` and `caption`."""

    image: NDArray[np.uint8]  # (H, W, 3), sRGB
    caption: str
    wrong: str  # a caption that is almost true; absent where nobody makes one
    spec: dict[str, Any]  # what a composed scene shows; absent where nobody knows


class Source(ABC):
    """An endless, seeded stream of samples.

    Sample number `position` depends on the configuration and on `position` alone, so that
    training resumes exactly, workers share the stream without talking to each other, and the
    order does not depend on how many of them there are.
    """

    Config: ClassVar[type[Config]]

    def __init__(self) -> None:
        self._index, self._count, self._block, self._next = 0, 1, 1, 0

    @classmethod
    def at(cls, path: Path, size: int) -> Self | None:
        """This source, reading a folder; None where the folder is none of its kind."""
        return None

    def summary(self) -> dict[str, Any]:
        """What the data hold, in plain counts."""
        return {}

    @abstractmethod
    def sample(self, position: int) -> Sample:
        """Sample number `position` (>= 0) of the stream."""

    @abstractmethod
    def captions(self, count: int) -> Iterator[str]:
        """`count` captions as the stream would give them, without making pictures."""

    def notes(self) -> list[str]:
        """What a person should know of these data before training on them, a line each."""
        return []

    def vocabulary(self) -> Vocabulary:
        """The words of its captions, without rare ones: those of `SAMPLED` captions."""
        return Vocabulary.of(self.captions(SAMPLED))

    def shard(self, index: int, count: int, block: int = 1) -> Self:
        """A view of this stream for consumer `index` of `count`.

        The stream is cut into blocks of `block` samples, dealt out in turn: consumer `index`
        gets blocks `index`, `index + count`, ... counted from the stream's present position.
        """
        view = copy.copy(self)
        view._index, view._count, view._block = index, count, block
        return view

    def __iter__(self) -> Iterator[Sample]:
        """Yield this shard's samples without end, starting at the present position."""
        start, number = self._next, self._index
        while True:
            for position in range(start + number * self._block, start + (number + 1) * self._block):
                yield self.sample(position)
            number += self._count

    def state_dict(self) -> dict[str, int]:
        """Where the whole stream (not a shard of it) stands."""
        return {"position": self._next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue at a saved position."""
        self._next = int(state["position"])
