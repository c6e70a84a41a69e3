"""Pictures that are held out of training, whatever the source, its seed and its order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from ..errors import DataError
from .source import IndexedSource, Sample

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


class Training(IndexedSource):
    """A source without what is held out of it.

    Another sample stands in for one that is held out. Which one depends on the position alone, so
    that the stream is sharded and resumed as the whole one is.
    """

    def __init__(self, source: IndexedSource, share: float) -> None:
        super().__init__()
        self.source, self.share = source, share

    def place(self, position: int) -> int:
        """The position in the whole stream of what is at a position of this one.

        Raises:
            DataError: everything is held out.
        """
        for place in range(position, position + _TRIES * STRIDE, STRIDE):
            if not is_held_out(self.source.key(place), self.share):
                return place
        raise DataError(f"validation.share = {self.share:g} leaves nothing to train on")

    def sample(self, position: int) -> Sample:
        """See `IndexedSource`."""
        return self.source.sample(self.place(position))

    def key(self, position: int) -> str:
        """See `IndexedSource`."""
        return self.source.key(self.place(position))

    def captions(self, count: int) -> Iterator[str]:
        """See `Source`."""
        return (self.sample(position)["caption"] for position in range(count))
