"""Parquet files with pictures, or with the paths of pictures, and captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from ..errors import DataError, quoted
from ..files import atomic_file
from ._columns import CAPTIONS, PICTURES, captions_of, column_of, picture_of
from ._needed import needed
from ._picture import Encoded
from ._shuffle import Memo
from ._stored import StoredConfig, StoredSource


class ParquetConfig(StoredConfig):
    """`path`: a folder of parquet files, or one file. Row groups are read whole.

    A picture is the bytes of its file, a path that begins from the folder, or both as Hugging
    Face's tables have it; a cell may have a list of captions, of which one is chosen each time.
    Without names, columns with usual names are taken: image, jpg, ...; text, caption, ...
    """

    shuffle_window: int = Field(4, ge=1, description="row groups that are mixed with each other")
    picture_column: str = ""
    caption_column: str = ""


class Group(NamedTuple):
    """A row group: its file and its number in it."""

    file: Path
    number: int


class Parquet(StoredSource):
    """The rows of parquet files.

    Raises:
        DataError: there are no such files, one is damaged, or a column is missing.
        UsageError: pyarrow is not installed.
    """

    Config = ParquetConfig
    units = "row groups"

    def __init__(self, config: ParquetConfig, size: tuple[int, int]) -> None:
        self.folder, files = _files(config.path)
        described = [_described(file) for file in files]
        self.groups = [
            Group(file, number)
            for file, (_, counts) in zip(files, described, strict=True)
            for number in range(len(counts))
        ]
        columns, name = described[0][0], quoted(files[0])
        picture = column_of(config.picture_column, PICTURES, columns, f"{name}, picture_column")
        caption = column_of(config.caption_column, CAPTIONS, columns, f"{name}, caption_column")
        self._pictures = Memo(partial(read_column, picture), config.shuffle_window + 1)
        self._captions = Memo(partial(read_column, caption), config.shuffle_window + 1)
        super().__init__(config, size, [count for _, counts in described for count in counts])

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A parquet file, or a folder with some, also in `data/` as the hub has them.

        Not those that img2dataset writes beside the tar, or the folder, of the pictures.
        """
        if path.suffix.lower() == ".parquet":
            return True
        files = [*path.glob("*.parquet"), *(path / "data").glob("*.parquet")]
        return any(
            not file.with_suffix("").is_dir() and not file.with_suffix(".tar").exists()
            for file in files
        )

    def texts(self, unit: int, number: int) -> tuple[str, ...]:
        """The captions of a row."""
        group = self.groups[unit]
        return captions_of(self._captions(group)[number].as_py(), _row(group, number))

    def picture(self, unit: int, number: int) -> Path | Encoded:
        """The picture of a row."""
        group = self.groups[unit]
        cell = self._pictures(group)[number].as_py()
        return picture_of(cell, self.folder, _row(group, number))

    def summary(self) -> dict[str, Any]:
        """Rows, row groups, files."""
        files = len({group.file for group in self.groups})
        return {"kind": "parquet files", "files": files, **super().summary()}


def read_column(name: str, group: Group) -> Any:
    """A column of a row group, as pyarrow has it: `column[i].as_py()`. Raises DataError."""
    arrow = _library()
    try:
        with arrow.parquet.ParquetFile(group.file) as file:
            table = file.read_row_group(group.number, columns=[name], use_threads=False)
            return table.column(name)
    except (OSError, KeyError, arrow.ArrowException) as error:
        raise _unreadable(group.file, error) from None


def read_whole(file: Path, name: str) -> Any:
    """A column of all rows of a file, as `read_column` gives it. Raises DataError."""
    arrow = _library()
    try:
        return arrow.parquet.read_table(file, columns=[name], use_threads=False).column(name)
    except (OSError, KeyError, arrow.ArrowException) as error:
        raise _unreadable(file, error) from None


def columns_in(file: Path) -> list[str]:
    """The names of a file's columns. Raises DataError."""
    return _described(file)[0]


def write_columns(file: Path, columns: Mapping[str, Sequence[str]]) -> None:
    """Write columns of texts as a file, whole or not at all.

    Raises:
        OutputError: it cannot be written.
        UsageError: pyarrow is not installed.
    """
    arrow = _library()
    table = arrow.table(
        {name: arrow.array(texts, arrow.string()) for name, texts in columns.items()}
    )
    with atomic_file(file) as beside:
        arrow.parquet.write_table(table, beside)


def _described(file: Path) -> tuple[list[str], list[int]]:
    """The columns of a file, and the rows of each of its groups. Raises DataError."""
    arrow = _library()
    try:
        with arrow.parquet.ParquetFile(file) as opened:
            known = opened.metadata
            counts = [known.row_group(at).num_rows for at in range(known.num_row_groups)]
            return list(opened.schema_arrow.names), counts
    except (OSError, arrow.ArrowException) as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: Exception) -> DataError:
    why = str(error).partition("\n")[0] or type(error).__name__
    return DataError(f"cannot read {quoted(file)}: {why}")


def _row(group: Group, number: int) -> str:
    return f"{quoted(group.file)}: row {number} of row group {group.number}"


def _files(path: Path) -> tuple[Path, list[Path]]:
    """The folder that paths begin from, and its parquet files. Raises DataError."""
    if path.is_file():
        return path.parent, [path]
    files = sorted(file for file in path.rglob("*.parquet") if not file.name.startswith("."))
    if not files:
        raise DataError(f"no parquet files at {path}")
    return path, files


_library = partial(needed, "parquet files need", "pyarrow.parquet", "parquet")


SOURCE = Parquet
