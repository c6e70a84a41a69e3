"""Picture files with captions that are listed when training starts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..vocabulary import Vocabulary
from ._picture import is_mask, read_cropped
from ._shuffle import chosen
from .listing import Pair, pictures_in
from .source import Item, ListedSource, Sample


class Pictures(ListedSource):
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

    @property
    def count(self) -> int:
        """Pictures with a caption."""
        return len(self.pairs)

    def item(self, number: int) -> Item:
        """Picture number `number` of the list, named as within its folder."""
        path, captions = self.pairs[number]
        home = getattr(getattr(self, "config", None), "path", path)
        inside = home != path and path.is_relative_to(home)
        return Item(path.relative_to(home).as_posix() if inside else str(path), path, captions)

    def place(self, position: int) -> int:
        """See `ListedSource`: shuffled anew every epoch."""
        epoch, place = divmod(position, len(self.pairs))
        return int(_order(self.seed, epoch, len(self.pairs))[place])

    def caption(self, captions: tuple[str, ...], position: int) -> str:
        """See `ListedSource`: drawn for the position."""
        return chosen(captions, self.seed, position)

    def sample(self, position: int) -> Sample:
        """Picture number `position` of the stream, (*size, 3), and one of its captions.

        Raises:
            DataError: the picture cannot be read.
        """
        path, words = self._pair(position)
        return {"image": read_cropped(path, self.size), "caption": words}

    def name(self, number: int) -> str:
        """The picture's path below the folder of all."""
        return self.pairs[number][0].relative_to(self._root).as_posix()

    @cached_property
    def _root(self) -> Path:
        folders = {str(path.parent) for path, _ in self.pairs}
        return Path(os.path.commonpath([min(folders), max(folders)]))

    def captions(self, count: int) -> Iterator[str]:
        """The captions of the first `count` samples."""
        return (self._pair(position)[1] for position in range(count))

    def vocabulary(self) -> Vocabulary:
        """The words of all captions, without rare ones."""
        return Vocabulary.of(caption for _, captions in self.pairs for caption in captions)

    def _pair(self, position: int) -> tuple[Path, str]:
        path, captions = self.pairs[self.place(position)]
        return path, self.caption(captions, position)


class Uncaptioned(Pictures):
    """Every picture of a folder, whether or not it has captions, and none of these.

    Raises:
        DataError: the folder is missing, or has no pictures.
    """

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        self.folder = folder
        files = [file for file in pictures_in(folder) if not is_mask(file)]
        super().__init__([(file, ()) for file in files], 0, size)

    def item(self, number: int) -> Item:
        """See `Pictures`: named as within the folder."""
        path, _ = self.pairs[number]
        return Item(path.relative_to(self.folder).as_posix(), path)


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.intp]:
    return np.random.default_rng((seed, 0, epoch)).permutation(count)
