"""Columns of tables: which has the pictures, which the captions, and what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError, NoCaptionsError, nearest
from ..files import relative
from ._picture import Encoded
from ._stored import texts_of

PICTURES = ("image", "jpg", "png", "webp", "picture", "img", "file_name", "image_path", "path")
"""Usual names of a column of pictures."""

CAPTIONS = ("text", "caption", "captions", "txt", "prompt")
"""Usual names of a column of captions."""


def column_of(asked: str, usual: Sequence[str], columns: Sequence[str], where: str) -> str:
    """The column that is asked for, or the first that has a usual name.

    Args:
        asked: empty where none is.
        usual: such as `PICTURES`.
        columns: there are.
        where: the file, and the setting that names a column, in errors.

    Raises:
        DataError: there is none.
    """
    if asked and asked not in columns:
        raise DataError(
            f"{where}: no column '{asked}'{nearest(asked, columns)}; {_listed(columns)}"
        )
    found = asked or next((name for name in usual if name in columns), "")
    if not found:
        raise DataError(f"{where}: none of {', '.join(usual)} is a column; {_listed(columns)}")
    return found


def picture_of(value: object, folder: Path, name: str) -> Path | Encoded:
    """The picture in a cell: its file's bytes, its path, or both (as in Hugging Face's tables).

    Args:
        value: of the cell.
        folder: that paths begin from, and stay in.
        name: of the cell, in errors.

    Raises:
        DataError: there is no picture.
    """
    if isinstance(value, dict):
        data, path = value.get("bytes"), value.get("path")
        value = data if data is not None else path
    if isinstance(value, bytes):
        return Encoded(value, name)
    if not isinstance(value, str) or not value:
        raise DataError(f"{name} has no picture")
    try:
        return folder / relative(value)
    except ValueError as error:
        raise DataError(f"{name}: the picture is {error}") from None


def captions_of(value: object, name: str) -> tuple[str, ...]:
    """The captions in a cell. Raises DataError where there is none."""
    found = texts_of(value)
    if not found:
        raise NoCaptionsError(f"{name} has no caption")
    return found


def _listed(columns: Sequence[str]) -> str:
    return f"the columns are {', '.join(columns)}"
