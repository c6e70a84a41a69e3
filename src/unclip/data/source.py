"""Data sources: an endless stream of samples, a pure function of position."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Self, TypedDict

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..vocabulary import Vocabulary

SAMPLED = 20_000
"""Number of captions from which an endless source derives its vocabulary."""


class Sample(TypedDict, total=False):
    """One training example. Every source gives `image` and `caption`."""

    image: NDArray[np.uint8]  # (H, W, 3), sRGB
    caption: str
    wrong: str  # a hard negative caption; optional
    spec: dict[str, Any]  # description of a composed scene; optional


class Source(ABC):
    """An endless, seeded stream of samples.

    Sample number `position` depends on the configuration and on `position` alone, so that
    training resumes exactly, workers share the stream without communication, and the order does
    not depend on their number.
    """

    Config: ClassVar[type[Config]]

    def __init__(self) -> None:
        self._index, self._count, self._block, self._next = 0, 1, 1, 0

    @abstractmethod
    def sample(self, position: int) -> Sample:
        """Sample number `position` (>= 0) of the stream."""

    @abstractmethod
    def captions(self, count: int) -> Iterator[str]:
        """The first `count` captions of the stream, without making pictures."""

    def notes(self) -> list[str]:
        """Remarks on the data for the user before training, one line each."""
        return []

    def vocabulary(self) -> Vocabulary:
        """The words of the first `SAMPLED` captions, without rare ones."""
        return Vocabulary.of(self.captions(SAMPLED))

    def shard(self, index: int, count: int, block: int = 1) -> Self:
        """A view of this stream for consumer `index` of `count`.

        The stream is split into blocks of `block` samples. Consumer `index` gets the blocks
        `index`, `index + count`, ... counted from the current position of the stream.
        """
        view = copy.copy(self)
        view._index, view._count, view._block = index, count, block
        return view

    def __iter__(self) -> Iterator[Sample]:
        """Yield this shard's samples endlessly from the current position."""
        start, number = self._next, self._index
        while True:
            for position in range(start + number * self._block, start + (number + 1) * self._block):
                yield self.sample(position)
            number += self._count

    def state_dict(self) -> dict[str, int]:
        """The position of the whole stream (not of a shard)."""
        return {"position": self._next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue at a saved position."""
        self._next = int(state["position"])
