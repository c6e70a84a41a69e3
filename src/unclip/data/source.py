"""Data sources: endless streams of samples that resume exactly."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..errors import DataError
from ..vocabulary import Vocabulary

T = TypeVar("T")

SAMPLED = 20_000
"""Number of captions from which an endless source derives its vocabulary."""

TRIES = 20
"""How many samples in a row may be faulty before a stream ends with an error."""

STRIDE = 10_007
"""How far ahead the sample is that stands in for a faulty one: rarely in the same batch."""


class Sample(TypedDict, total=False):
    """One training example: `image` and `caption`, or precomputed embeddings or latents of them."""

    image: NDArray[np.uint8]  # (H, W, 3), sRGB
    mask: NDArray[np.uint8]  # (H, W), how much a pixel counts in a decoder's loss; optional
    caption: str
    wrong: str  # a hard negative caption; optional
    spec: dict[str, Any]  # description of a composed scene; optional
    text_embed: NDArray[np.float32]  # (D,) z_t
    text_encodings: NDArray[np.float32]  # (N, W')
    image_embed: NDArray[np.float32]  # (D,) z_i
    image_patches: NDArray[np.float32]  # (patches, W')
    latents: NDArray[np.float32]  # (c, h, w), an autoencoder's of the picture
    skipped: list[str]  # what is wrong with the samples that this one stands in for; optional


@dataclass(frozen=True)
class Item:
    """One stored picture and all that is said of it.

    Args:
        name: within its data: a path relative to the folder, or a shard and a key.
        picture: its file, or that file's content.
        captions: may be none.
        fault: why there is no picture.
        mask: where the mask of the pixels that count is, if there is one: see `read_mask`.
    """

    name: str
    picture: Path | BytesIO
    captions: tuple[str, ...] = ()
    fault: str = ""
    mask: Literal["alpha", "file"] | None = None

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
    def at(
        cls, path: Path, size: tuple[int, int], settings: Mapping[str, Any] | None = None
    ) -> Self | None:
        """This source of a folder, with (height, width) pictures; None for other folders."""
        if not cls.recognises(path):
            return None
        config = cls.Config.parse({"path": str(path), **(settings or {})})
        return cls(config, size)  # type: ignore[call-arg]

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether a folder, or a file, is of the kind that this source reads."""
        return False

    def summary(self) -> dict[str, Any]:
        """What the data hold, in plain counts."""
        return {}

    @abstractmethod
    def __iter__(self) -> Iterator[Sample]:
        """Yield this shard's samples endlessly from the current position."""

    @abstractmethod
    def captions(self, count: int) -> Iterator[str]:
        """The next `count` captions of the stream, without making pictures."""

    @property
    def count(self) -> int | None:
        """Its stored pictures; None where there are none, or nobody knows."""
        return None

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

    def unused(self) -> list[tuple[str, str]]:
        """Files beside those of its pictures that no sample is made of: (name, why)."""
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
        """Sample number `position` (>= 0) of the stream.

        Raises:
            DataError: it cannot be made: its picture is damaged, say.
        """

    def key(self, position: int) -> str:
        """What the picture at a position is told from others by, without making it.

        The same picture has the same key in every epoch, and with all of its captions. Where
        every position is another picture that is the position.
        """
        return str(position)

    def stored(self, position: int) -> Item:
        """The stored picture at a position and the caption it has there. Raises DataError."""
        raise DataError(f"'{type(self).__name__.lower()}' makes its pictures")

    def __iter__(self) -> Iterator[Sample]:
        """Yield this shard's samples endlessly from the current position.

        Another sample stands in for one that cannot be made, and says so in `skipped`. Which one
        depends on the position alone, so that the stream is the same however it is sharded.

        Raises:
            DataError: `TRIES` samples in a row cannot be made.
        """
        return map(self._made, self.positions())

    def _made(self, position: int) -> Sample:
        made, faults = sound(self.sample, position, self.stand_in)
        return {**made, "skipped": faults} if faults else made

    def stand_in(self, position: int, tries: int) -> int:
        """The position of what is tried in place of a sample, after `tries` could not be made."""
        return further(position, tries)


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

    def bare(self, number: int) -> Item:
        """Picture number `number` alone, whether or not it has captions. Raises DataError."""
        return replace(self.item(number), captions=())

    @abstractmethod
    def place(self, position: int) -> int:
        """The number of the picture at a position of the stream."""

    def name(self, number: int) -> str:
        """What picture number `number` is told from others by: the `key` of its positions."""
        return str(number)

    def key(self, position: int) -> str:
        """See `IndexedSource`: the picture's name."""
        return self.name(self.place(position))

    @abstractmethod
    def caption(self, captions: tuple[str, ...], position: int) -> str:
        """The one of a picture's captions that it has at a position."""

    def items(self) -> Iterator[Item]:
        """See `Source`; those that are not there say why."""
        for number in range(self.count):
            try:
                yield self.item(number)
            except DataError as error:
                yield Item(f"number {number}", BytesIO(), fault=str(error))

    def stored(self, position: int) -> Item:
        """See `IndexedSource`."""
        item = self.item(self.place(position))
        return replace(item, captions=(self.caption(item.captions, position),))


def further(position: int, tries: int) -> int:
    """See `IndexedSource.stand_in`: far ahead."""
    return position + STRIDE * tries


def sound(
    make: Callable[[int], T], position: int, stand_in: Callable[[int, int], int] = further
) -> tuple[T, list[str]]:
    """`make(position)`, or of the first position that stands in for it and can be made.

    Returns:
        What was made, and what is wrong with the positions before.

    Raises:
        DataError: none of `TRIES` positions can be made.
    """
    faults: list[str] = []
    for _ in range(TRIES):
        try:
            return make(stand_in(position, len(faults))), faults
        except DataError as error:
            faults.append(str(error))
    raise DataError(f"{TRIES} samples in a row cannot be made; the first of them: {faults[0]}")
