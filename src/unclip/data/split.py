"""Pictures that are held out of training, whatever the source, its seed and its order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .source import IndexedSource, Item, ListedSource
from .view import View

STRIDE = 7_919
"""How far ahead the sample is that stands in for one that is held out: rarely in its batch."""

_TRIES = 1_000


def is_held_out(key: str, share: float) -> bool:
    """Whether a picture is among the `share` that is held out: by its key alone."""
    digest = hashlib.sha256(key.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def held_out(source: IndexedSource, share: float, most: int) -> list[int]:
    """Positions of up to `most` different held out pictures, in the order of the stream.

    Raises:
        DataError: there is none.
    """
    found: dict[str, int] = {}
    for position in range(int(4 * most / share)):
        key = source.key(position)
        if is_held_out(key, share):
            found.setdefault(key, position)
        if len(found) == most:
            break
    if not found:
        raise DataError(f"validation.share = {share:g} holds no picture out; take a larger share")
    return list(found.values())


class Split(View):
    """What of a source is held out, or what is not: see `split`.

    Another sample stands in for one of the other side. Which one depends on the position alone, so
    that the stream is sharded and resumed as the whole one is.
    """

    def __init__(self, inner: IndexedSource, share: float, held: bool = False) -> None:
        super().__init__(inner)
        self.share, self.held = share, held

    def has(self, key: str) -> bool:
        """Whether a picture is on this side."""
        return is_held_out(key, self.share) == self.held

    def original(self, position: int) -> int:
        """See `View`. Raises DataError where nothing is on this side."""
        for place in range(position, position + _TRIES * STRIDE, STRIDE):
            if self.has(self.inner.key(place)):
                return place
        raise self._empty()

    def captions(self, count: int) -> Iterator[str]:
        """See `Source`."""
        if self.stores:
            return (self.stored(position).captions[0] for position in range(count))
        return (self.sample(position)["caption"] for position in range(count))

    def _empty(self) -> DataError:
        what = "holds no picture out" if self.held else "leaves nothing to train on"
        more = "larger" if self.held else "smaller"
        return DataError(f"validation.share = {self.share:g} {what}; take a {more} share")


class ListedSplit(Split, ListedSource):
    """The same of a list, which it is one itself."""

    inner: ListedSource

    @cached_property
    def numbers(self) -> NDArray[np.intp]:
        """(count,) the numbers of its pictures in the list. Raises DataError: there are none."""
        every = range(self.inner.count)
        found = [number for number in every if self.has(self.inner.name(number))]
        if not found:
            raise self._empty()
        return np.array(found)

    @property
    def count(self) -> int:
        """See `ListedSource`."""
        return len(self.numbers)

    def items(self) -> Iterator[Item]:
        """See `Source`."""
        return ListedSource.items(self)

    def item(self, number: int) -> Item:
        """See `ListedSource`."""
        return self.inner.item(int(self.numbers[number]))

    def name(self, number: int) -> str:
        """See `ListedSource`."""
        return self.inner.name(int(self.numbers[number]))

    def place(self, position: int) -> int:
        """See `ListedSource`."""
        number = self.inner.place(self.original(position))
        return int(np.searchsorted(self.numbers, number))

    def caption(self, captions: tuple[str, ...], position: int) -> str:
        """See `ListedSource`."""
        return self.inner.caption(captions, position)


def split(source: IndexedSource, share: float, held: bool = False) -> Split:
    """What is left of a source to train on, or what is `held` out: the raw source, before frames.

    Of a list it is a list again, for buckets and caches to go through.
    """
    kind = ListedSplit if isinstance(source, ListedSource) else Split
    return kind(source, share, held)
