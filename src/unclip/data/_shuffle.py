"""The order of samples that are stored in units, such as tars or row groups."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Memo(Generic[Key, Value]):
    """The latest few results of a function. Its copy in another process begins empty."""

    def __init__(self, make: Callable[[Key], Value], size: int) -> None:
        self.make, self.size = make, size
        self._kept: dict[Key, Value] = {}

    def __call__(self, key: Key) -> Value:
        """`make(key)`, kept until `size` others have been asked for."""
        value = self._kept.pop(key) if key in self._kept else self.make(key)
        self._kept[key] = value  # the last of them
        if len(self._kept) > self.size:
            del self._kept[next(iter(self._kept))]
        return value

    def __getstate__(self) -> dict[str, Any]:
        return {"make": self.make, "size": self.size, "_kept": {}}


class _Epoch(NamedTuple):
    """An epoch: units in their order, and how many samples there are up to the end of each."""

    units: NDArray[np.intp]
    ends: NDArray[np.int64]


class Order:
    """Which sample stands at a position: each once an epoch, shuffled within a window of units.

    The order of the units, and that of the samples within each `window` of them, depend on the
    seed and the epoch alone. So a reader has to have only so many units at hand, and any number of
    readers share one stream. It holds a number for each unit and each sample of a window, and
    nothing for each sample of the data.
    """

    def __init__(self, counts: Sequence[int], seed: int, window: int) -> None:
        """`counts`: samples in each unit. Raises DataError where there are none."""
        self.counts = np.asarray(counts, dtype=np.int64)
        self.seed, self.window = seed, window
        self.total = int(self.counts.sum())
        if self.total < 1:
            raise DataError("there are no samples")
        self._epoch = Memo(self._shuffled, 4)
        self._places = Memo(self._within, 4)

    def place(self, position: int) -> tuple[int, int]:
        """(unit, number of the sample in it) at a position of the stream."""
        number, rest = divmod(position, self.total)
        epoch = self._epoch(number)
        at = int(np.searchsorted(epoch.ends, rest, side="right"))
        first = at - at % self.window
        start = int(epoch.ends[first - 1]) if first else 0
        rank = start + int(self._places((number, first))[rest - start])
        unit = int(np.searchsorted(epoch.ends, rank, side="right"))
        return int(epoch.units[unit]), rank - (int(epoch.ends[unit - 1]) if unit else 0)

    def _shuffled(self, epoch: int) -> _Epoch:
        units = np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.counts))
        return _Epoch(units, self.counts[units].cumsum())

    def _within(self, key: tuple[int, int]) -> NDArray[np.intp]:
        """The order of the samples of the units from number `first` of an epoch on."""
        number, first = key
        ends = self._epoch(number).ends
        last = min(first + self.window, len(ends)) - 1
        count = int(ends[last] - (ends[first - 1] if first else 0))
        return np.random.default_rng((self.seed, 2, number, first)).permutation(count)


def chosen(captions: Sequence[str], seed: int, position: int) -> str:
    """One of a picture's captions, drawn for a position of the stream."""
    if len(captions) == 1:
        return captions[0]
    draw = np.random.default_rng((seed, 1, position)).random()
    return captions[int(draw * len(captions))]
