"""Data sets of Hugging Face's `datasets`: of the hub, of folders, or written by save_to_disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from .. import config
from ..errors import DataError
from ._columns import CAPTIONS, PICTURES, captions_of, column_of, picture_of
from ._needed import needed
from ._picture import Encoded
from ._stored import StoredSource

ROWS = 10_000
"""Rows in a row, which are shuffled as one unit."""


class HuggingFaceConfig(config.Config):
    """`path`: a name of the hub such as `owner/name`, or a folder that `datasets` reads.

    Without names, columns with usual names are taken: image, ...; text, caption, ... Code that
    comes with a data set is never run.
    """

    path: str = Field(min_length=1)
    name: str | None = Field(None, description="of the configuration, where there are several")
    split: str = "train"
    revision: str | None = None
    seed: int = Field(default=0, ge=0)
    shuffle_window: int = Field(64, ge=1, description="ten thousands of rows that are mixed")
    picture_column: str = ""
    caption_column: str = ""


class HuggingFace(StoredSource):
    """The rows of a split.

    Raises:
        DataError: there is no such data set or split, or a column is missing.
        UsageError: `datasets` is not installed.
    """

    Config = HuggingFaceConfig
    units = "blocks"

    def __init__(self, config: HuggingFaceConfig, size: tuple[int, int]) -> None:
        self.where = f"{config.path}, split {config.split}"
        data, self.folder = _opened(config)
        columns = list(data.column_names)
        names = (
            column_of(config.picture_column, PICTURES, columns, f"{self.where}, picture_column"),
            column_of(config.caption_column, CAPTIONS, columns, f"{self.where}, caption_column"),
        )
        self.picture_column, self.caption_column = names
        self.rows = _undecoded(data.select_columns(list(names)), names[0])
        self.texts_alone = self.rows.select_columns([names[1]])
        blocks = [ROWS] * (len(data) // ROWS) + [len(data) % ROWS]
        super().__init__(config, size, blocks)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder that save_to_disk wrote."""
        return _is_saved(path)

    def texts(self, unit: int, number: int) -> tuple[str, ...]:
        """The captions of a row."""
        row = unit * ROWS + number
        cell = self.texts_alone[row][self.caption_column]
        return captions_of(cell, f"{self.where}: row {row}")

    def picture(self, unit: int, number: int) -> Path | Encoded:
        """The picture of a row."""
        row = unit * ROWS + number
        cell = self.rows[row][self.picture_column]
        name = f"{self.where}: row {row}"
        if isinstance(cell, dict) and cell.get("bytes") is None and cell.get("path"):
            return Path(cell["path"])  # `datasets` has found the file
        return picture_of(cell, self.folder, name)

    def summary(self) -> dict[str, Any]:
        """Rows, and the columns that are read."""
        columns = f"{self.picture_column}, {self.caption_column}"
        return {"kind": "data set of Hugging Face", "rows": len(self.rows), "columns": columns}


def _opened(config: HuggingFaceConfig) -> tuple[Any, Path]:
    """The split, and the folder that paths in it begin from. Raises DataError."""
    library = _library()
    path = Path(os.path.expanduser(config.path))
    try:
        if _is_saved(path):
            data = library.load_from_disk(str(path))
        else:
            # of the keyword `split`: a split that is not there is then a ValueError
            name = str(path) if path.is_dir() else config.path
            data = library.load_dataset(
                name, config.name, split=config.split, revision=config.revision
            )
    except (OSError, ValueError, RuntimeError, library.exceptions.DatasetsError) as error:
        why = str(error).partition("\n")[0]
        raise DataError(f"cannot open the data set {config.path}: {why}") from None
    if isinstance(data, Mapping):
        if config.split not in data:
            raise DataError(f"{config.path} has no split '{config.split}': {', '.join(data)}")
        data = data[config.split]
    return data, path


def _undecoded(data: Any, column: str) -> Any:
    """With pictures as they are stored: `datasets` itself would open any format."""
    library = _library()
    if isinstance(data.features[column], library.Image):
        return data.cast_column(column, library.Image(decode=False))
    return data


def _is_saved(path: Path) -> bool:
    """Whether save_to_disk wrote a folder."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


_library = partial(needed, "this source needs", "datasets", "datasets")


SOURCE = HuggingFace
