"""What every data source is: an endless stream of samples, which goes on exactly where it was."""

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
    """One training example: `image` and `caption`, or what networks have made of them before."""

    image: NDArray[np.uint8]  # (H, W, 3), sRGB
    caption: str
    wrong: str  # a caption that is almost true; absent where nobody makes one
    spec: dict[str, Any]  # what a composed scene shows; absent where nobody knows
    text_embed: NDArray[np.float32]  # (D,) z_t
    text_encodings: NDArray[np.float32]  # (N, W')
    image_embed: NDArray[np.float32]  # (D,) z_i
    image_patches: NDArray[np.float32]  # (patches, W')


class Source(ABC):
    """An endless, seeded stream of samples.

    The sample at a position of the stream depends on the configuration and the position alone, so
    that training resumes exactly, workers share the stream without talking to each other, and the
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
    def __iter__(self) -> Iterator[Sample]:
        """Yield this shard's samples without end, starting at the present position."""

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

    def positions(self) -> Iterator[int]:
        """The positions in the whole stream of this shard's samples, from the present one on."""
        first = self._next + self._index * self._block
        while True:
            yield from range(first, first + self._block)
            first += self._count * self._block

    def advance(self, count: int) -> None:
        """Go on after the next `count` samples of the whole stream."""
        self._next += count

    def state_dict(self) -> dict[str, Any]:
        """Where the whole stream (not a shard of it) stands, as JSON can hold it."""
        return {"position": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a saved position."""
        self._next = int(state["position"])


class IndexedSource(Source):
    """A source that makes any sample by its position, and those before it need not be made."""

    @abstractmethod
    def sample(self, position: int) -> Sample:
        """Sample number `position` (>= 0) of the stream."""

    def __iter__(self) -> Iterator[Sample]:
        """Yield this shard's samples without end, starting at the present position."""
        return map(self.sample, self.positions())
