"""Picture files with captions that are listed when training starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..vocabulary import Vocabulary
from ._picture import read_cropped
from ._shuffle import chosen
from .listing import Pair
from .source import IndexedSource, Sample


class Pictures(IndexedSource):
    """Listed pictures, each once per epoch, in an order given by (seed, epoch)."""

    kind = "pictures"

    def __init__(self, pairs: Sequence[Pair], seed: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.pairs, self.seed, self.size = pairs, seed, size

    def summary(self) -> dict[str, Any]:
        """Pictures, captions, different words, formats."""
        captions = [caption for _, several in self.pairs for caption in several]
        suffixes = Counter(picture.suffix.lower() for picture, _ in self.pairs)
        return {
            "kind": self.kind,
            "pictures": len(self.pairs),
            "captions": len(captions),
            "different words": len({word for line in captions for word in line.lower().split()}),
            "formats": dict(suffixes.most_common()),
        }

    def sample(self, position: int) -> Sample:
        """Picture number `position` of the stream, (*size, 3), and one of its captions.

        Raises:
            DataError: the picture cannot be read.
        """
        path, words = self._pair(position)
        return {"image": read_cropped(path, self.size), "caption": words}

    def captions(self, count: int) -> Iterator[str]:
        """The captions of the first `count` samples."""
        return (self._pair(position)[1] for position in range(count))

    def vocabulary(self) -> Vocabulary:
        """The words of all captions, without rare ones."""
        return Vocabulary.of(caption for _, captions in self.pairs for caption in captions)

    def _pair(self, position: int) -> tuple[Path, str]:
        epoch, place = divmod(position, len(self.pairs))
        path, captions = self.pairs[_order(self.seed, epoch, len(self.pairs))[place]]
        return path, chosen(captions, self.seed, position)


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.intp]:
    return np.random.default_rng((seed, 0, epoch)).permutation(count)
