"""Aspect buckets: every batch has pictures of one size, near their own aspects, none enlarged.

NovelAI's aspect-ratio bucketing (github.com/NovelAI/novelai-aspect-ratio-bucketing) keeps a queue
of pictures a bucket. Here the bucket of a batch is a function of the batch's number, and its
pictures are one of their places in it: resuming is exact, and any number of readers share a stream.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError, counted
from ..media import picture_size
from .framing import Frame, Framed, FrameSettings
from .source import IndexedSource, Item, ListedSource, Source

Size = tuple[int, int]

AHEAD = 101
"""How many batches of its bucket ahead the sample is that stands in for a faulty one."""

SMALLER = (1.0, 0.75, 0.5, 0.375, 0.25)
"""Sides of the buckets, as shares of the largest ones': for small pictures."""


def sizes_of(size: Size, step: int, aspect: float) -> list[Size]:
    """The (height, width) that buckets may have.

    Args:
        size: whose area none exceeds.
        step: what sides are multiples of.
        aspect: longer to shorter side, at most.
    """
    found: dict[Size, None] = {}
    for share in SMALLER:
        area = math.prod(size) * share * share
        for height in range(step, int(math.sqrt(area * aspect)) + 1, step):
            width = int(area / height / step) * step
            if width and max(height, width) <= aspect * min(height, width):
                found[height, width] = None
    return list(found)


def choose(picture: Size, among: Sequence[Size]) -> int | None:
    """Which bucket shows the most pixels of a picture without enlarging it; None: all do.

    The picture is scaled down until it just covers the bucket, and what sticks out is cut: a
    bucket's pixels, times the share of the picture that is seen.
    """
    if not among:
        return None
    height, width = picture
    sides = np.asarray(among, dtype=np.float64)  # (buckets, 2)
    scale = (sides / (height, width)).max(1)
    area = sides.prod(1)
    seen = area / (height * width * scale**2)
    shown = np.where(scale <= 1, area * seen, -1.0)
    best = int(shown.argmax())
    return best if shown[best] > 0 else None


def assign(pictures: Sequence[Size], among: Sequence[Size], group: int) -> dict[Size, list[int]]:
    """The pictures of each bucket, by number.

    A bucket with fewer pictures than a batch would repeat them in it: its pictures go to the next
    best ones, where there are some for all of them. Too small pictures are in none.

    Args:
        pictures: their sizes.
        among: see `sizes_of`.
        group: samples of a batch.
    """
    left = list(among)
    chosen = _chosen(pictures, left)
    while len(left) > 1:
        filled = Counter(one for one in chosen if one is not None)
        few = sorted((filled[size], size) for size in left if filled[size] < group)
        gone = next((size for _, size in few if _can_go(size, pictures, chosen, left)), None)
        if gone is None:
            break
        left.remove(gone)
        chosen = _chosen(pictures, left)
    found: dict[Size, list[int]] = {}
    for number, size in enumerate(chosen):
        if size is not None:
            found.setdefault(size, []).append(number)
    return dict(sorted(found.items()))


def _chosen(pictures: Sequence[Size], among: Sequence[Size]) -> list[Size | None]:
    known: dict[Size, Size | None] = {}
    for picture in set(pictures):
        best = choose(picture, among)
        known[picture] = None if best is None else among[best]
    return [known[picture] for picture in pictures]


def _can_go(
    size: Size, pictures: Sequence[Size], chosen: Sequence[Size | None], left: Sequence[Size]
) -> bool:
    """Whether every picture of a bucket fits another one."""
    others = [one for one in left if one != size]
    mine = {picture for picture, own in zip(pictures, chosen, strict=True) if own == size}
    return all(choose(picture, others) is not None for picture in mine)


class Bucketed(Framed):
    """The pictures of a list in batches of one size.

    Batch number b is of one bucket, each of which comes as often as it has pictures. A bucket's
    pictures are shuffled anew each time that all of them have been seen.

    Raises:
        DataError: no picture is large enough.
    """

    inner: ListedSource

    def __init__(
        self, inner: ListedSource, settings: FrameSettings, size: Size, group: int
    ) -> None:
        super().__init__(inner, settings, size)
        self.group = group
        among = sizes_of(size, settings.bucket_step or 1, settings.bucket_aspect)
        self._among = among
        measured = [None if item.fault else picture_size(item.picture) for item in inner.items()]
        sound = [number for number, one in enumerate(measured) if one is not None]
        found = assign([one for one in measured if one is not None], among, group)
        self.buckets = {one: [sound[n] for n in numbers] for one, numbers in found.items()}
        self.without = inner.count - self.count
        if not self.buckets:
            raise DataError(
                f"no picture is as large as the smallest bucket, {min(among, default=(0, 0))} "
                "pixels; lower data.bucket_step, or set data.buckets to false"
            )
        self._sizes = list(self.buckets)
        self._turn = _turns(tuple(map(len, self.buckets.values())))

    @property
    def count(self) -> int:
        """Its pictures that are in a bucket."""
        return sum(map(len, self.buckets.values()))

    def notes(self) -> list[str]:
        """Of the other source, and which buckets there are."""
        parts = [f"{w}×{h} {len(n):,}" for (h, w), n in self.buckets.items()]
        lines = [f"{counted(len(parts), 'bucket')}: {', '.join(parts)}"]
        if self.without:
            small = counted(self.without, "picture is", "pictures are")
            lines.append(f"{small} too small for every bucket, or cannot be read")
        return [*self.inner.notes(), *lines]

    def shard(self, index: int, count: int, block: int = 1) -> Self:
        """See `Source`. Raises UsageError where a batch would have pictures of two sizes."""
        if block > 1 and (self.group % block or self._next % block):
            raise UsageError(
                f"with data.buckets the batch size must be a divisor of {self.group}, the stage's "
                f"batch_size, got {block}; leave `ramp` empty"
            )
        return super().shard(index, count, block)

    def place(self, position: int) -> tuple[int, int]:
        """(bucket, number of the picture) at a position of the stream."""
        bucket, which, offset = self._turn_of(position)
        numbers = self.buckets[self._sizes[bucket]]
        epoch, rest = divmod(which * self.group + offset, len(numbers))
        order = _order(self._seed, bucket, epoch, len(numbers))
        return bucket, numbers[order[rest]]

    def _turn_of(self, position: int) -> tuple[int, int, int]:
        """The bucket of a position, how many of its batches came before, the place in its batch."""
        batch, offset = divmod(position, self.group)
        period, turn = divmod(batch, len(self._turn))
        bucket, which = self._turn[turn].tolist()
        return bucket, period * len(self.buckets[self._sizes[bucket]]) + which, offset

    def stand_in(self, position: int, tries: int) -> int:
        """See `IndexedSource`: in a later batch of the same bucket."""
        bucket, which, offset = self._turn_of(position)
        count = len(self.buckets[self._sizes[bucket]])
        period, rest = divmod(which + AHEAD * tries, count)
        turn = int(np.flatnonzero(self._turn[:, 0] == bucket)[rest])
        return (period * len(self._turn) + turn) * self.group + offset

    def key(self, position: int) -> str:
        """See `IndexedSource`: of the picture that the bucket has there."""
        return self.inner.name(self.place(position)[1])

    def stored(self, position: int) -> Item:
        """See `IndexedSource`."""
        item = self.inner.item(self.place(position)[1])
        caption = self.inner.caption(item.captions, position)
        return replace(item, captions=(caption,))

    def frame(self, position: int) -> Frame:
        """See `Framed`."""
        own = super().frame(position)
        return Frame(self._sizes[self.place(position)[0]], own.at, own.flip)

    def sized(self) -> Iterator[tuple[Item, Size]]:
        """See `Framed`."""
        for size, numbers in self.buckets.items():
            yield from ((self.inner.item(number), size) for number in numbers)

    def captions(self, count: int) -> Iterator[str]:
        """The captions of the first `count` samples."""
        return (self.stored(position).captions[0] for position in range(count))


def framed(
    source: Source, settings: FrameSettings, size: tuple[int, int], group: int = 1, step: int = 1
) -> Source:
    """A source as settings want its pictures seen; itself where they want nothing.

    Args:
        source: any.
        settings: of a recipe's `data`.
        size: (height, width) of a picture; of buckets the area.
        group: samples of a batch, which are of one size.
        step: what the network's sides are multiples of.

    Raises:
        UsageError: the source cannot be read by position, or stores no pictures to choose from.
    """
    check_framing(source, settings)
    if settings == FrameSettings():
        return source
    assert isinstance(source, IndexedSource)
    if not settings.buckets:
        return Framed(source, settings, size)
    assert isinstance(source, ListedSource)
    return Bucketed(source, stepped(settings, step), size, group)


def check_framing(source: Source, settings: FrameSettings) -> None:
    """Raise UsageError as `framed` does, for what a source cannot give; no picture is read."""
    if settings != FrameSettings() and not isinstance(source, IndexedSource):
        raise UsageError("settings 'data.crop', 'flip' and 'buckets' need data read by position")
    if settings.buckets and not isinstance(source, ListedSource):
        raise UsageError(
            "setting 'data.buckets' needs a source that lists its pictures, such as a folder or "
            "what `unclip data prepare` makes"
        )


def stepped(settings: FrameSettings, step: int) -> FrameSettings:
    """With the step of the buckets where none is set. Raises UsageError where it does not fit."""
    wanted = settings.bucket_step or step
    if wanted % step:
        raise UsageError(
            f"setting 'data.bucket_step' must be a multiple of {step}, as the network's sides are, "
            f"got {wanted}"
        )
    return settings.model_copy(update={"bucket_step": wanted})


@lru_cache(maxsize=256)
def _order(seed: int, bucket: int, epoch: int, count: int) -> NDArray[np.intp]:
    return np.random.default_rng((seed, 4, bucket, epoch)).permutation(count)


@lru_cache(maxsize=4)
def _turns(counts: tuple[int, ...]) -> NDArray[np.int64]:
    """(batches, 2): the bucket of each batch, and how many of that bucket came before.

    As many batches as there are pictures, of which bucket k has `counts[k]`: each in as exact a
    share as can be at any time. Its i-th batch is due at (i + 1/2) / `counts[k]`.
    """
    due = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
    bucket = np.repeat(np.arange(len(counts)), counts)
    which = np.concatenate([np.arange(count) for count in counts])
    order = np.lexsort((bucket, due))
    return np.stack([bucket[order], which[order]], 1)
