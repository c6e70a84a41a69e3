"""A folder of pictures with captions, reshuffled every epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from .. import config
from ..vocabulary import Vocabulary
from ._picture import read_cropped
from .listing import listing
from .source import Item, ListedSource, Sample


class FolderConfig(config.Config):
    """`path`: a folder with `name.txt` next to `name.png`, or with a table of captions.

    A text file has one caption per line. A table (`captions.csv`, `.jsonl`, or `metadata`) has the
    columns `file_name` and `text`, and may list a picture several times. If a picture has several
    captions, one is chosen at random each time.
    """

    path: config.UserPath
    seed: int = Field(default=0, ge=0)


class Folder(ListedSource):
    """The pictures of a folder, each once per epoch, in an order given by (seed, epoch).

    Raises:
        DataError: the folder is missing, has no pictures, or has no captions.
    """

    Config = FolderConfig

    def __init__(self, config: FolderConfig, size: tuple[int, int]) -> None:
        super().__init__()
        self.config = config
        self.size = size
        self.listing = listing(config.path)
        self.listing.check()
        self.pairs = self.listing.pairs

    @classmethod
    def at(cls, path: Path, size: tuple[int, int]) -> Self:
        """Any folder: the source for those that no other knows."""
        return cls(FolderConfig(path=path), size)

    def summary(self) -> dict[str, Any]:
        """Pictures, captions and what has none of the other."""
        captions = [caption for _, several in self.pairs for caption in several]
        suffixes = Counter(picture.suffix.lower() for picture, _ in self.pairs)
        return {
            "kind": "folder of pictures",
            "pictures": len(self.pairs),
            "captions": len(captions),
            "without caption": len(self.listing.uncaptioned),
            "without picture": len(self.listing.unpictured),
            "different words": len({word for line in captions for word in line.lower().split()}),
            "formats": dict(suffixes.most_common()),
        }

    def notes(self) -> list[str]:
        """Pictures and texts that training does not use."""
        return self.listing.notes()

    @property
    def count(self) -> int:
        """Pictures with a caption."""
        return len(self.pairs)

    def item(self, number: int) -> Item:
        """Picture number `number`, sorted by name."""
        path, captions = self.pairs[number]
        return Item(path.relative_to(self.config.path).as_posix(), path, captions)

    def place(self, position: int) -> int:
        """See `ListedSource`: shuffled anew every epoch."""
        epoch, place = divmod(position, self.count)
        return int(_order(self.config.seed, epoch, self.count)[place])

    def caption(self, captions: tuple[str, ...], position: int) -> str:
        """See `ListedSource`: drawn for the position."""
        if len(captions) == 1:
            return captions[0]
        draw = np.random.default_rng((self.config.seed, 1, position)).random()
        return captions[int(draw * len(captions))]

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
        path, captions = self.pairs[self.place(position)]
        return path, self.caption(captions, position)


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.intp]:
    return np.random.default_rng((seed, 0, epoch)).permutation(count)


SOURCE = Folder
