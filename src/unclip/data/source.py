"""Data sources: endless streams of samples that resume exactly."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, Self, TypedDict

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..errors import DataError
from ..vocabulary import Vocabulary

SAMPLED = 20_000
"""Number of captions from which an endless source derives its vocabulary."""


class Sample(TypedDict, total=False):
    """One training example: `image` and `caption`, or precomputed embeddings or latents of them."""

    image: NDArray[np.uint8]  # (H, W, 3), sRGB
    caption: str
    wrong: str  # a hard negative caption; optional
    spec: dict[str, Any]  # description of a composed scene; optional
    text_embed: NDArray[np.float32]  # (D,) z_t
    text_encodings: NDArray[np.float32]  # (N, W')
    image_embed: NDArray[np.float32]  # (D,) z_i
    image_patches: NDArray[np.float32]  # (patches, W')
    latents: NDArray[np.float32]  # (c, h, w), an autoencoder's of the picture


@dataclass(frozen=True)
class Item:
    """One stored picture and all that is said of it.

    Args:
        name: within its data: a path relative to the folder, or a shard and a key.
        picture: its file, or that file's content.
        captions: may be none.
    """

    name: str
    picture: Path | BytesIO
    captions: tuple[str, ...] = ()

    def read(self) -> bytes:
        """The picture's file. Raises OSError."""
        if isinstance(self.picture, Path):
            return self.picture.read_bytes()
        return self.picture.getvalue()

    @property
    def stored_bytes(self) -> int:
        """Of the picture's file. Raises OSError."""
        if isinstance(self.picture, Path):
            return self.picture.stat().st_size
        return self.picture.getbuffer().nbytes


class Source(ABC):
    """An endless, seeded stream of samples.

    The sample at a position of the stream depends only on the configuration and the position, so
    training resumes exactly, workers share the stream without communication, and the order does not
    depend on their number.
    """

    Config: ClassVar[type[Config]]

    def __init__(self) -> None:
        self._index, self._count, self._block, self._next = 0, 1, 1, 0

    @classmethod
    def at(cls, path: Path, size: tuple[int, int]) -> Self | None:
        """This source of a folder, with (height, width) pictures; None for other folders."""
        return None

    def summary(self) -> dict[str, Any]:
        """What the data hold, in plain counts."""
        return {}

    @abstractmethod
    def __iter__(self) -> Iterator[Sample]:
        """Yield this shard's samples endlessly from the current position."""

    @abstractmethod
    def captions(self, count: int) -> Iterator[str]:
        """The next `count` captions of the stream, without making pictures."""

    def items(self) -> Iterator[Item]:
        """Every stored picture once, in an order that does not change, none of them decoded.

        Raises:
            DataError: it stores no pictures, but makes them.
        """
        kind = type(self).__name__.lower()
        raise DataError(f"'{kind}' makes its pictures: there are no files to go through")

    def notes(self) -> list[str]:
        """Remarks on the data for the user before training, one line each."""
        return []

    def vocabulary(self) -> Vocabulary:
        """The words of `SAMPLED` captions, without rare ones."""
        return Vocabulary.of(self.captions(SAMPLED))

    def shard(self, index: int, count: int, block: int = 1) -> Self:
        """A view of this stream for consumer `index` of `count`.

        The stream is split into blocks of `block` samples. Consumer `index` gets the blocks
        `index`, `index + count`, ... counted from the current position of the stream.
        """
        view = copy.copy(self)
        view._index, view._count, view._block = index, count, block
        return view

    def positions(self) -> Iterator[int]:
        """The positions of this shard's samples in the whole stream, from the current one on."""
        first = self._next + self._index * self._block
        while True:
            yield from range(first, first + self._block)
            first += self._count * self._block

    def advance(self, count: int) -> None:
        """Skip the next `count` samples of the whole stream."""
        self._next += count

    def state_dict(self) -> dict[str, Any]:
        """The position of the whole stream (not of a shard), as JSON data."""
        return {"position": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a saved position."""
        self._next = int(state["position"])


class IndexedSource(Source):
    """A source with random access to samples by position."""

    size: tuple[int, int]
    """(height, width) of its pictures."""

    stores: bool = False
    """Whether its pictures are stored ones, of which `stored` gives the files."""

    @abstractmethod
    def sample(self, position: int) -> Sample:
        """Sample number `position` (>= 0) of the stream."""

    def stored(self, position: int) -> Item:
        """The stored picture at a position and the caption it has there. Raises DataError."""
        raise DataError(f"'{type(self).__name__.lower()}' makes its pictures")

    def __iter__(self) -> Iterator[Sample]:
        """Yield this shard's samples endlessly from the current position."""
        return map(self.sample, self.positions())


class ListedSource(IndexedSource):
    """Stored pictures with captions, which are read by their number and seen in another order."""

    stores = True

    @property
    @abstractmethod
    def count(self) -> int:
        """Its pictures, each of which is seen once an epoch."""

    @abstractmethod
    def item(self, number: int) -> Item:
        """Picture number `number` < `count` and all its captions. Raises DataError."""

    @abstractmethod
    def place(self, position: int) -> int:
        """The number of the picture at a position of the stream."""

    @abstractmethod
    def caption(self, captions: tuple[str, ...], position: int) -> str:
        """The one of a picture's captions that it has at a position."""

    def items(self) -> Iterator[Item]:
        """See `Source`; what cannot be had has no content."""
        for number in range(self.count):
            try:
                yield self.item(number)
            except DataError as error:
                yield Item(str(error), BytesIO())

    def stored(self, position: int) -> Item:
        """See `IndexedSource`."""
        item = self.item(self.place(position))
        return replace(item, captions=(self.caption(item.captions, position),))
