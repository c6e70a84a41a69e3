"""Another source, seen in another way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..vocabulary import Vocabulary
from .source import IndexedSource, Item, Sample


class View(IndexedSource):
    """What stands between a source and who reads it; what it does not change is the source's."""

    inner: IndexedSource

    def __init__(self, inner: IndexedSource) -> None:
        super().__init__()
        self.inner = inner
        self.config: Any = getattr(inner, "config", None)
        self.size = getattr(inner, "size", (1, 1))
        self.stores = inner.stores

    def original(self, position: int) -> int:
        """The position in the other source of what is at a position of this one."""
        return position

    def sample(self, position: int) -> Sample:
        """See `IndexedSource`."""
        return self.inner.sample(self.original(position))

    def key(self, position: int) -> str:
        """See `IndexedSource`."""
        return self.inner.key(self.original(position))

    def stored(self, position: int) -> Item:
        """See `IndexedSource`."""
        return self.inner.stored(self.original(position))

    @property
    def count(self) -> int | None:
        """Of the other source."""
        return self.inner.count

    def items(self) -> Iterator[Item]:
        """Of the other source."""
        return self.inner.items()

    def captions(self, count: int) -> Iterator[str]:
        """Of the other source."""
        return self.inner.captions(count)

    def vocabulary(self) -> Vocabulary:
        """Of the other source."""
        return self.inner.vocabulary()

    def summary(self) -> dict[str, Any]:
        """Of the other source."""
        return self.inner.summary()

    def notes(self) -> list[str]:
        """Of the other source."""
        return self.inner.notes()
