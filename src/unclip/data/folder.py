"""A folder of pictures with captions, shuffled anew every epoch."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from .. import config
from ..errors import DataError
from ._picture import read_square
from .source import Sample, Source

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
TABLES = ("captions.csv", "captions.jsonl", "metadata.csv", "metadata.jsonl")
Pair = tuple[Path, tuple[str, ...]]  # a picture and its captions


class FolderConfig(config.Config):
    """`path`: a folder with `name.txt` beside `name.png`, or with one of `TABLES`.

    A text file has one caption a line; a table has the columns `file_name` and `text`, and may
    name a picture several times. Of several captions one is drawn each time.
    """

    path: Path
    seed: int = Field(default=0, ge=0)


class Folder(Source):
    """The pictures of a folder, each once an epoch, in an order drawn from (seed, epoch).

    Raises:
        DataError: the folder is missing, has no pictures, or has no captions.
    """

    Config = FolderConfig

    def __init__(self, config: FolderConfig, size: int) -> None:
        super().__init__()
        self.config = config
        self.size = size
        self.pairs = read_pairs(config.path)

    def sample(self, position: int) -> Sample:
        """Picture number `position` of the stream, (size, size, 3), and one of its captions.

        Raises:
            DataError: the picture cannot be read.
        """
        path, words = self._pair(position)
        return {"image": read_square(path, self.size), "caption": words}

    def captions(self, count: int) -> Iterator[str]:
        """The captions of the first `count` samples."""
        return (self._pair(position)[1] for position in range(count))

    def _pair(self, position: int) -> tuple[Path, str]:
        epoch, place = divmod(position, len(self.pairs))
        path, captions = self.pairs[_order(self.config.seed, epoch, len(self.pairs))[place]]
        if len(captions) == 1:
            return path, captions[0]
        draw = np.random.default_rng((self.config.seed, 1, position)).random()
        return path, captions[int(draw * len(captions))]


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.intp]:
    return np.random.default_rng((seed, 0, epoch)).permutation(count)


def read_pairs(folder: Path) -> list[Pair]:
    """The pictures of a folder and their captions, in the order of their names.

    Raises:
        DataError: there is no folder, no picture, no caption, or a table is faulty.
    """
    if not folder.is_dir():
        raise DataError(f"no dataset folder at {folder}")
    for name in TABLES:
        if (folder / name).is_file():
            return _from_table(folder / name)
    pictures = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    if not pictures:
        raise DataError(f"{folder} holds no pictures (looked for {', '.join(PICTURES)})")
    pairs = [(path, _beside(path)) for path in pictures]
    found = [(path, captions) for path, captions in pairs if captions]
    if not found:
        raise DataError(
            f"{folder} holds {len(pictures)} pictures but no captions "
            f"(looked for {pictures[0].stem}.txt and the like, and for {', '.join(TABLES)})"
        )
    return found


def _beside(picture: Path) -> tuple[str, ...]:
    path = picture.with_suffix(".txt")
    if not path.is_file():
        return ()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the captions {path}: {error}") from None
    return tuple(line.strip() for line in lines if line.strip())


def _from_table(table: Path) -> list[Pair]:
    found: dict[Path, list[str]] = {}
    for number, row in _rows(table):
        name, text = row.get("file_name"), row.get("text")
        if not (isinstance(name, str) and isinstance(text, str)):
            raise DataError(f"{table}, line {number}: 'file_name' and 'text' are both needed")
        picture = table.parent / name
        if not picture.is_file():
            raise DataError(f"{table}, line {number}: there is no picture {picture}")
        if text.strip():
            found.setdefault(picture, []).append(text.strip())
    if not found:
        raise DataError(f"{table} holds no captions")
    return [(picture, tuple(captions)) for picture, captions in sorted(found.items())]


def _rows(table: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """The rows of a CSV or JSON-lines table with their line numbers."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {table}: {error}") from None
    if table.suffix == ".csv":
        reader = csv.DictReader(text.splitlines())
        for row in reader:
            yield reader.line_num, dict(row)
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise DataError(f"{table}, line {number} is not JSON: {error}") from None
        yield number, value if isinstance(value, dict) else {}


SOURCE = Folder
