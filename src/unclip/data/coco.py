"""COCO captions: `annotations/captions_*.json`, and the folders of its pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field

from .. import config
from ..errors import DataError, counted, quoted
from ..files import relative
from ..plain import read_json
from ._pictures import Pictures
from .listing import Pair

MOST_BYTES = 2**31
"""Largest file of captions; that of COCO 2017 has 92 MB."""


class CocoConfig(config.Config):
    """`path`: the folder with `annotations/captions_train2017.json` and `train2017/`.

    Pictures have several captions, of which one is chosen at random each time.
    """

    path: config.UserPath
    seed: int = Field(default=0, ge=0)
    split: str = Field("", description="such as val2017; train first where it is not given")
    pictures: config.UserPath | None = Field(None, description="folder of the pictures")


class Coco(Pictures):
    """The captioned pictures of one split.

    Raises:
        DataError: a folder or the split is missing, or the file of captions is malformed.
    """

    Config = CocoConfig
    kind = "COCO captions"

    def __init__(self, config: CocoConfig, size: tuple[int, int]) -> None:
        self.config = config
        self.file = _file(config)
        named, self.without = _read(self.file, self.file.stat().st_mtime_ns)
        split = self.file.stem.removeprefix("captions_")
        folder = config.pictures or _folder(config.path, split, [name for name, _ in named])
        pairs: list[Pair] = [(folder / name, captions) for name, captions in named]
        super().__init__(pairs, config.seed, size)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder with `annotations/captions_*.json`."""
        return bool(_files(path))

    def summary(self) -> dict[str, Any]:
        """Pictures, captions, the file that they are from."""
        return {**super().summary(), "annotations": str(self.file.relative_to(self.config.path))}

    def notes(self) -> list[str]:
        """Pictures without captions."""
        if not self.without:
            return []
        several = counted(self.without, "picture has no caption", "pictures have no caption")
        return [f"{self.file}: {several}"]


def _files(path: Path) -> list[Path]:
    return sorted((path / "annotations").glob("captions_*.json"))


def _file(config: CocoConfig) -> Path:
    """The file of captions of the split. Raises DataError."""
    files = _files(config.path)
    if not files:
        raise DataError(f"no COCO captions at {config.path / 'annotations'}/captions_*.json")
    splits = {file.stem.removeprefix("captions_"): file for file in files}
    first = next((split for split in splits if split.startswith("train")), next(iter(splits)))
    if (config.split or first) not in splits:
        raise DataError(f"{config.path} has no split '{config.split}': {', '.join(splits)}")
    return splits[config.split or first]


@lru_cache(maxsize=2)
def _read(file: Path, changed: int) -> tuple[list[tuple[str, tuple[str, ...]]], int]:
    """(file name, captions) of each captioned picture, and how many have no caption."""
    try:
        values = read_json(file, MOST_BYTES)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {quoted(file)}: {error}") from None
    captions: dict[int, list[str]] = defaultdict(list)
    for row in _rows(values, "annotations", {"image_id": int, "caption": str}, file):
        if text := " ".join(row["caption"].split()):
            captions[row["image_id"]].append(text)
    rows = list(_rows(values, "images", {"id": int, "file_name": str}, file))
    named = [(_inside(row, file), tuple(captions.get(row["id"], ()))) for row in rows]
    captioned = sorted(pair for pair in named if pair[1])
    if not captioned:
        raise DataError(f"{quoted(file)} has no captions")
    return captioned, len(named) - len(captioned)


def _rows(
    values: object, key: str, kinds: Mapping[str, type], file: Path
) -> Iterable[dict[str, Any]]:
    """The objects of a list. Raises DataError where one has not what `kinds` wants."""
    rows = values.get(key) if isinstance(values, dict) else None
    if not isinstance(rows, list):
        raise DataError(f"{quoted(file)} has no list '{key}': it is no file of COCO captions")
    for number, row in enumerate(rows):
        good = isinstance(row, dict) and all(isinstance(row.get(k), t) for k, t in kinds.items())
        if not good:
            wanted = " and ".join(f"'{name}'" for name in kinds)
            raise DataError(f"{quoted(file)}: {key}[{number}] needs {wanted}")
        yield row


def _inside(row: Mapping[str, Any], file: Path) -> str:
    try:
        return relative(row["file_name"])
    except ValueError as error:
        raise DataError(f"{quoted(file)}: 'file_name' is {error}") from None


def _folder(path: Path, split: str, names: list[str]) -> Path:
    """The folder with the most of some pictures. Raises DataError where none has any."""
    folders = [path / split, path / "images" / split, path / "images", path]
    some = names[:: max(1, len(names) // 50)]
    found = [sum((folder / name).is_file() for name in some) for folder in folders]
    if not max(found):
        looked = ", ".join(f"{folder}/" for folder in folders[:3])
        raise DataError(f"no pictures such as {some[0]} in {looked}; set data.pictures")
    return folders[found.index(max(found))]


SOURCE = Coco
