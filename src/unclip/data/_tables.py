"""Reading captions: a text file beside a picture, and tables of many, in CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError, nearest, quoted
from ..files import relative, text_of
from ..plain import parse_json

TABLES = ("captions.csv", "captions.jsonl", "metadata.csv", "metadata.jsonl")
COLUMNS = ("file_name", "text")

_SURROGATE = re.compile("[\ud800-\udfff]")
_LINES = re.compile(r"\r\n|\r|\n")


class Row(NamedTuple):
    """A row of a table: its line, the picture's path from the table on, and a caption."""

    line: int
    picture: str
    caption: str


def captions_of(file: Path) -> tuple[str, ...]:
    """The captions of a text file, one a line, without the space around them.

    Raises:
        DataError: it cannot be read, or is no UTF-8.
    """
    lines = (line.strip() for line in _LINES.split(_text(file)))
    return tuple(line for line in lines if line)


def rows_of(table: Path, is_there: Callable[[str], bool]) -> Iterator[Row]:
    """The rows of a CSV or JSON-lines table.

    Args:
        table: its columns are `file_name` and `text`, in any order and beside any others.
        is_there: whether there is a picture of a name. Where a line inside a quoted text begins
            with such a name, a quote was left open.

    Raises:
        DataError: it cannot be read or does not keep to its format (the message gives the line),
            or it names a file outside its folder.
    """
    read = _csv if table.suffix.lower() == ".csv" else _json_lines
    for line, values in read(table, is_there):
        where = f"{quoted(table)}, line {line}"
        name, caption = values.get("file_name"), values.get("text")
        caption = "" if caption is None else caption
        if not (isinstance(name, str) and isinstance(caption, str) and "text" in values):
            raise DataError(f"{where}: 'file_name' and 'text' are both needed, as text")
        if not (name + caption).isascii() and _SURROGATE.search(name + caption):
            raise DataError(f"{where}: half of a character (a lone surrogate, as in \\ud83d)")
        if name.strip() in ("", "."):
            raise DataError(f"{where}: 'file_name' is empty")
        yield Row(line, _inside(name, where), caption)


def _inside(name: str, where: str) -> str:
    try:
        return relative(name)
    except ValueError as error:
        text = f"{where}: 'file_name' is {error}; give names from the table's folder on"
        raise DataError(text) from None


def _text(file: Path) -> str:
    try:
        return text_of(file)
    except OSError as error:
        raise DataError(f"cannot read {quoted(file)}: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(f"cannot read {quoted(file)}: {error}") from None


def _csv(
    table: Path, is_there: Callable[[str], bool]
) -> Iterator[tuple[int, Mapping[str, object]]]:
    """(first line, values by column) of every row that is not blank (RFC 4180)."""
    columns: list[str] = []
    for line, row in _csv_rows(table):
        where = f"{quoted(table)}, line {line}"
        if not any(field.strip() for field in row):
            continue
        if not columns:
            columns = _columns(row, where)
            continue
        if len(row) != len(columns):
            raise DataError(
                f"{where}: {_fields(len(row))} where the columns are {len(columns)} "
                f"({', '.join(map(quoted, columns))}); a text that holds a comma stands in quotes"
            )
        _check_quotes(row, is_there, where)
        yield line, dict(zip(columns, row, strict=True))


def _fields(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"


def _csv_rows(table: Path) -> Iterator[tuple[int, list[str]]]:
    """(first line, fields) of every row. Raises DataError."""
    reader = csv.reader(io.StringIO(_text(table), newline=""), strict=True)
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{quoted(table)}, line {line}: {error}; a quote that opens a text has to close it, "
            'and inside it is written twice ("")'
        ) from None


def _columns(row: list[str], where: str) -> list[str]:
    """The names of the columns, in small letters. Raises DataError."""
    columns = [name.strip().lower() for name in row]
    mark = next((mark for mark in ";\t|" if mark in row[0]), None)
    if len(row) == 1 and mark is not None:
        raise DataError(f"{where}: its columns are parted by {mark!r}; save it with commas")
    for name in COLUMNS:
        if columns.count(name) != 1:
            known = [quoted(one) for one in columns]
            found = f"there are: {', '.join(known)}{nearest(name, known)}"
            several = f"two columns are called '{name}'" if name in columns else found
            raise DataError(f"{where}: 'file_name' and 'text' are both needed, once; {several}")
    return columns


def _check_quotes(row: list[str], is_there: Callable[[str], bool], where: str) -> None:
    """Raise DataError where a text goes on into what looks like rows of their own."""
    for field in row:
        for text in _LINES.split(field)[1:]:
            name, comma, _ = text.partition(",")
            name = name.strip('"')
            if comma and name and is_there(name):
                raise DataError(f"{where}: the quote that opens here goes on over the row {name!r}")


def _json_lines(
    table: Path, is_there: Callable[[str], bool]
) -> Iterator[tuple[int, Mapping[str, object]]]:
    """(line, values) of every line that is not blank; of all that end lines, only \\n does here."""
    for line, text in enumerate(_text(table).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            value = parse_json(text, _once)
        except ValueError as error:
            raise DataError(f"{quoted(table)}, line {line} is not JSON: {error}") from None
        values = value if isinstance(value, dict) else {}
        yield line, {**{name.strip().lower(): one for name, one in values.items()}, **values}


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{twice!r} stands twice")
    return values
