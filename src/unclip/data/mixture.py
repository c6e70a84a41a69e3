"""Several sources in one stream, each with a weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from .. import config
from ..errors import UsageError
from ..vocabulary import Vocabulary
from . import opened, settings_of
from ._shuffle import Memo
from .source import IndexedSource, Item, Sample

BLOCK = 1000
"""Positions in which each source comes as often as its weight says."""

Part = Annotated[dict[str, Any], Field(min_length=1)]


class MixtureConfig(config.Config):
    """`parts`: each with `source`, `weight` (1 where it is not given) and the source's settings.

    A part of weight 2 gives twice as many samples as one of weight 1, whatever their sizes: each
    begins anew when all of it has been seen.
    """

    parts: tuple[Part, ...] = Field(min_length=1)
    seed: int = Field(default=0, ge=0)

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str = "", strict: bool = False) -> Self:
        """As of any configuration; the settings of each part are checked too."""
        made = super().parse(values, where, strict)
        made.settings(where)
        return made

    def settings(self, where: str = "data") -> list[config.Config]:
        """The settings of each part's source. Raises UsageError."""
        prefix = f"{where}.parts" if where else "parts"
        return [_settings(part, f"{prefix}[{number}]") for number, part in enumerate(self.parts)]


def _settings(part: Mapping[str, Any], where: str) -> config.Config:
    """Raises UsageError: an unknown source or setting, or a weight that is none."""
    if "source" not in part:
        raise UsageError(f"setting '{where}.source' is missing")
    weight = part.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < 1e6:
        raise UsageError(f"setting '{where}.weight' must be a number above 0, got {weight!r}")
    return settings_of({key: one for key, one in part.items() if key != "weight"}, where)


class Mixture(IndexedSource):
    """Samples of all parts, in turn.

    Raises:
        UsageError: a part cannot be read by position.
        DataError: the data of a part are not there.
    """

    Config = MixtureConfig

    def __init__(self, config: MixtureConfig, size: tuple[int, int]) -> None:
        super().__init__()
        self.config, self.size = config, size
        self.parts = [
            _part(part, settings, size)
            for part, settings in zip(config.parts, config.settings(), strict=True)
        ]
        self.stores = all(part.stores for part in self.parts)
        weights = np.array([part.get("weight", 1.0) for part in config.parts])
        self._shares = np.maximum(1, np.rint(BLOCK * weights / weights.sum())).astype(int)
        self._blocks = Memo(self._dealt, 4)

    def sample(self, position: int) -> Sample:
        """The next sample of the part that this position is dealt to. Raises DataError."""
        part, inner = self._place(position)
        return self.parts[part].sample(inner)

    def key(self, position: int) -> str:
        """That of the part. Of one picture in two parts only one is held out."""
        part, inner = self._place(position)
        return f"{part}/{self.parts[part].key(inner)}"

    @property
    def count(self) -> int | None:
        """Stored pictures of all parts."""
        counts = [part.count for part in self.parts]
        return None if None in counts else sum(one or 0 for one in counts)

    def items(self) -> Iterator[Item]:
        """The stored pictures of all parts, each once."""
        for part in self.parts:
            yield from part.items()

    def stored(self, position: int) -> Item:
        """See `IndexedSource`."""
        part, inner = self._place(position)
        return self.parts[part].stored(inner)

    def captions(self, count: int) -> Iterator[str]:
        """The captions of the first `count` samples."""
        streams = [part.captions(count) for part in self.parts]
        dealt = (next(streams[self._place(n)[0]], None) for n in range(count))
        return (caption for caption in dealt if caption is not None)

    def vocabulary(self) -> Vocabulary:
        """The words of all parts."""
        words = Vocabulary()
        for part in self.parts:
            words |= part.vocabulary()
        return words

    def summary(self) -> dict[str, Any]:
        """The share of each part, and what it holds."""
        total = self._shares.sum()
        told = {}
        for number, part in enumerate(self.config.parts):
            told[f"part {number}"] = {
                "source": part["source"],
                "share": f"{self._shares[number] / total:.1%}",
                **self.parts[number].summary(),
            }
        return {"kind": "mixture", **told}

    def notes(self) -> list[str]:
        """What the parts say."""
        return [line for part in self.parts for line in part.notes()]

    def _place(self, position: int) -> tuple[int, int]:
        """(part, position in its own stream)."""
        block, rest = divmod(position, int(self._shares.sum()))
        parts, ranks = self._blocks(block)
        part = int(parts[rest])
        return part, block * int(self._shares[part]) + int(ranks[rest])

    def _dealt(self, block: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The part of each position of a block, and its rank among those of the part."""
        rng = np.random.default_rng((self.config.seed, 3, block))
        parts = rng.permutation(np.repeat(np.arange(len(self._shares)), self._shares))
        ranks = np.empty_like(parts)
        for part, share in enumerate(self._shares):
            ranks[parts == part] = np.arange(share)
        return parts, ranks


def _part(part: Mapping[str, Any], settings: config.Config, size: tuple[int, int]) -> IndexedSource:
    name = str(part["source"])
    source = opened(name, settings, size)
    if not isinstance(source, IndexedSource):
        raise UsageError(
            f"the source '{name}' cannot be part of a mixture: it has no random access"
        )
    return source


SOURCE = Mixture
