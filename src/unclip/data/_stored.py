"""Samples that are stored many to a file: tars, row groups, tables."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from .. import config
from ..errors import DataError
from ..vocabulary import Vocabulary
from ._picture import Encoded, read_cropped
from ._shuffle import Order, chosen
from .source import SAMPLED, Item, ListedSource, Sample, sound

MAX_BYTES = 256 * 2**20
"""Largest picture file that is read into memory."""


class StoredConfig(config.Config):
    """`path` is where the files are. They are read in another order every epoch."""

    path: config.UserPath
    seed: int = Field(default=0, ge=0)
    shuffle_window: int = Field(
        16, ge=1, description="how many tars, row groups or arrays are mixed with each other"
    )


class StoredSource(ListedSource):
    """Samples in units, such as tars. A subclass says how many each has, and reads one of them."""

    units = "units"

    def __init__(self, config: Any, size: tuple[int, int], counts: Sequence[int]) -> None:
        """Raises DataError where there is no sample."""
        super().__init__()
        self.config, self.size = config, size
        try:
            self.order = Order(counts, config.seed, config.shuffle_window)
        except DataError as error:
            raise DataError(f"{config.path}: {error}") from None
        self._ends = self.order.counts.cumsum()

    @abstractmethod
    def texts(self, unit: int, number: int) -> tuple[str, ...]:
        """The captions of a sample. Raises DataError where it has none, or is not readable."""

    @abstractmethod
    def picture(self, unit: int, number: int) -> Path | Encoded:
        """The picture of a sample, not yet decoded. Raises DataError where there is none."""

    @property
    def count(self) -> int:
        """Samples of all units."""
        return self.order.total

    def item(self, number: int) -> Item:
        """Sample number `number` of all units in their order."""
        return replace(self.bare(number), captions=self.texts(*self._at(number)))

    def bare(self, number: int) -> Item:
        """See `ListedSource`: its captions are not even looked for."""
        picture = self.picture(*self._at(number))
        return Item(str(getattr(picture, "name", picture)), picture)

    def _at(self, number: int) -> tuple[int, int]:
        """The unit of a sample, and its number there."""
        unit = int(np.searchsorted(self._ends, number, side="right"))
        return unit, number - (int(self._ends[unit - 1]) if unit else 0)

    def place(self, position: int) -> int:
        """See `ListedSource`."""
        unit, within = self.order.place(position)
        return within + (int(self._ends[unit - 1]) if unit else 0)

    def caption(self, captions: tuple[str, ...], position: int) -> str:
        """See `ListedSource`: drawn for the position."""
        return chosen(captions, self.config.seed, position)

    def sample(self, position: int) -> Sample:
        """Picture (*size, 3) at a position, and one of its captions. Raises DataError."""
        caption = self._caption(position)  # first: it costs little
        picture = self.picture(*self.order.place(position))
        return {"image": read_cropped(picture, self.size), "caption": caption}

    def name(self, number: int) -> str:
        """The unit and the number in it."""
        unit, within = self._at(number)
        return f"{unit}/{within}"

    def captions(self, count: int) -> Iterator[str]:
        """The captions of the first `count` samples."""
        return (sound(self._caption, position)[0] for position in range(count))

    def vocabulary(self) -> Vocabulary:
        """The words of all captions, or of `SAMPLED` where there are more; without rare ones."""
        if self.order.total > SAMPLED:
            return super().vocabulary()
        return Vocabulary.of(self._every_caption())

    def summary(self) -> dict[str, Any]:
        """How many samples, in how many units."""
        return {"samples": self.order.total, self.units: len(self.order.counts)}

    def _caption(self, position: int) -> str:
        unit, number = self.order.place(position)
        return chosen(self.texts(unit, number), self.config.seed, position)

    def _every_caption(self) -> Iterator[str]:
        for unit, count in enumerate(self.order.counts.tolist()):
            for number in range(count):
                try:
                    yield from self.texts(unit, number)
                except DataError:  # a sample that will be skipped
                    continue


def lines_of(value: object) -> tuple[str, ...]:
    """Captions in a text, one per line, or in a list of texts; without empty ones."""
    texts = value if isinstance(value, list | tuple) else [value]
    lines = [line for text in texts if isinstance(text, str) for line in text.splitlines()]
    return tuple(line.strip() for line in lines if line.strip())


def texts_of(value: object) -> tuple[str, ...]:
    """The captions in a column: a text, or a list of texts; without empty ones."""
    texts = value if isinstance(value, list | tuple) else [value]
    return tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())
