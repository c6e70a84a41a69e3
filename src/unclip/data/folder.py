"""A folder of pictures with captions, reshuffled every epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from .. import config
from ._picture import read_mask
from ._pictures import Pictures
from ._tables import COLUMNS
from .listing import listing
from .source import Item, Sample


class FolderConfig(config.Config):
    """`path`: a folder with `name.txt` next to `name.png`, or with a table of captions.

    A text file has one caption per line. A table (`captions.csv`, `.jsonl`, or `metadata`) has the
    columns `file_name` and `text`, unless others are named, and may list a picture several times.
    If a picture has several captions, one is chosen at random each time.
    """

    path: config.UserPath
    seed: int = Field(default=0, ge=0)
    picture_column: str = Field(COLUMNS[0], min_length=1, description="of the table: file names")
    caption_column: str = Field(COLUMNS[1], min_length=1, description="of the table: captions")
    mask: Literal["alpha", "file"] | None = Field(
        None,
        description="which pixels count in a decoder's loss: the opaque ones, or the white ones of "
        "NAME-masklabel.png beside it; none: all",
    )


class Folder(Pictures):
    """The pictures of a folder.

    Raises:
        DataError: the folder is missing, has no pictures, or has no captions.
    """

    Config = FolderConfig
    kind = "folder of pictures"

    def __init__(self, config: FolderConfig, size: tuple[int, int]) -> None:
        self.config = config
        self.listing = listing(config.path, (config.picture_column, config.caption_column))
        super().__init__(self.listing.pairs, config.seed, size)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Any folder: this is the source for those that no other knows."""
        return True

    def item(self, number: int) -> Item:
        """See `Pictures`; and where its mask is."""
        return replace(super().item(number), mask=self.config.mask)

    def sample(self, position: int) -> Sample:
        """See `Pictures`; and the mask, where there are masks."""
        made = super().sample(position)
        if self.config.mask:
            made["mask"] = read_mask(self._pair(position)[0], self.config.mask, self.size)
        return made

    def summary(self) -> dict[str, Any]:
        """Pictures, captions and what has none of the other."""
        known = super().summary()
        without = {
            "without caption": len(self.listing.uncaptioned),
            "without picture": len(self.listing.unpictured),
        }
        return {key: known[key] for key in ("kind", "pictures", "captions")} | without | known

    def items(self) -> Iterator[Item]:
        """See `Pictures`; then those whose captions cannot be read."""
        yield from super().items()
        for picture, why in self.listing.unread:
            yield Item(self._inside(picture), picture, fault=why.removeprefix("cannot read "))

    def unused(self) -> list[tuple[str, str]]:
        """Pictures without captions, texts without pictures, linked folders."""
        return [(self._inside(file), why) for file, why in self.listing.unused()]

    def _inside(self, file: Path) -> str:
        return file.relative_to(self.config.path).as_posix()

    def notes(self) -> list[str]:
        """Pictures and texts that training does not use."""
        return self.listing.notes()


SOURCE = Folder
