"""Read captions from text files, and from tables in CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DataError, counted, nearest, quoted
from ..files import relative, text_of
from ..plain import parse_json

TABLES = ("captions.csv", "captions.jsonl", "metadata.csv", "metadata.jsonl")
COLUMNS = ("file_name", "text")

_SURROGATE = re.compile("[\ud800-\udfff]")
_LINES = re.compile(r"\r\n|\r|\n")


class Row(NamedTuple):
    """A row of a table: its line, the picture's relative path, and a caption."""

    line: int
    picture: str
    caption: str


def captions_of(file: Path) -> tuple[str, ...]:
    """The captions of a text file, one per line, stripped of spaces.

    Raises:
        DataError: it cannot be read, or is not UTF-8.
    """
    lines = (line.strip() for line in _LINES.split(_text(file)))
    return tuple(line for line in lines if line)


def rows_of(
    table: Path, is_there: Callable[[str], bool], columns: tuple[str, str] = COLUMNS
) -> Iterator[Row]:
    """The rows of a CSV or JSON-lines table; one for each caption where JSON has a list of them.

    Args:
        table: has the columns that `columns` names, in any order, among others.
        is_there: whether a picture of that name exists. A line of a quoted text that begins with
            such a name means that a quote was left open.
        columns: of the pictures' names and of the captions.

    Raises:
        DataError: it cannot be read, is malformed (the message gives the line), or names a file
            outside its folder.
    """
    read = _csv if table.suffix.lower() == ".csv" else _json_lines
    picture, text = (column.strip().lower() for column in columns)
    for line, values in read(table, is_there, (picture, text)):
        where = f"{quoted(table)}, line {line}"
        name, caption = values.get(picture), values.get(text)
        for one in caption if isinstance(caption, list) else [caption]:
            one = "" if one is None else one
            if not (isinstance(name, str) and isinstance(one, str) and text in values):
                raise DataError(f"{where}: '{picture}' and '{text}' are required, both as text")
            if not (name + one).isascii() and _SURROGATE.search(name + one):
                raise DataError(
                    f"{where}: an incomplete character (a lone surrogate such as \\ud83d)"
                )
            if name.strip() in ("", "."):
                raise DataError(f"{where}: '{picture}' is empty")
            yield Row(line, _inside(name, picture, where), one)


def _inside(name: str, column: str, where: str) -> str:
    try:
        return relative(name)
    except ValueError as error:
        text = f"{where}: '{column}' is {error}; give paths relative to the table's folder"
        raise DataError(text) from None


def _text(file: Path) -> str:
    try:
        return text_of(file)
    except OSError as error:
        raise DataError(f"cannot read {quoted(file)}: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(f"cannot read {quoted(file)}: {error}") from None


def _csv(
    table: Path, is_there: Callable[[str], bool], columns: tuple[str, str]
) -> Iterator[tuple[int, Mapping[str, object]]]:
    """(first line, values by column) of every row that is not blank."""
    for line, values in csv_rows(_text(table), quoted(table), columns):
        _check_quotes([*values.values()], is_there, f"{quoted(table)}, line {line}")
        yield line, values


def csv_rows(
    text: str, name: str, needed: Sequence[str], once: bool = False
) -> Iterator[tuple[int, dict[str, str]]]:
    """(first line, values by column) of every row of a CSV text that is not blank (RFC 4180).

    Args:
        text: its first row names the columns.
        name: of the file, in errors.
        needed: columns that there must be, in lower case, as all names become.
        once: no other column may be there twice either.

    Raises:
        DataError: it is malformed, or a column is missing; the message gives the line.
    """
    columns: list[str] = []
    for line, row in _csv_fields(text, name):
        where = f"{name}, line {line}"
        if not any(field.strip() for field in row):
            continue
        if not columns:
            columns = _columns(row, where, needed)
            _check_once(columns, where, once)
            continue
        if len(row) != len(columns):
            raise DataError(
                f"{where}: {counted(len(row), 'field')} but {counted(len(columns), 'column')} "
                f"({', '.join(map(quoted, columns))}); put a text with a comma in quotes"
            )
        yield line, dict(zip(columns, row, strict=True))


def _csv_fields(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """(first line, fields) of every row. Raises DataError."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{name}, line {line}: {error}; close every quote, "
            'and write a quote inside a text twice ("")'
        ) from None


def _columns(row: list[str], where: str, needed: Sequence[str]) -> list[str]:
    """The names of the columns in lower case. Raises DataError."""
    columns = [name.strip().lower() for name in row]
    mark = next((mark for mark in ";\t|" if mark in row[0]), None)
    if len(row) == 1 and mark is not None:
        raise DataError(f"{where}: its columns are separated by {mark!r}; save it with commas")
    for name in needed:
        if columns.count(name) != 1:
            found = f"its columns are: {', '.join(map(quoted, columns))}"
            near = [one for one in columns if one not in needed and nearest(one, [name])]
            if near and name not in columns:
                found += f"; rename {quoted(near[0])} to {name}"
            several = f"two columns are called '{name}'" if name in columns else found
            wanted = " and ".join(f"one column '{one}'" for one in needed)
            raise DataError(
                f"{where}: needs {wanted.replace(' and one column', ' and one')}; {several}"
            )
    return columns


def _check_once(columns: list[str], where: str, once: bool) -> None:
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if once and twice is not None:
        raise DataError(f"{where}: two columns are called '{twice}'")


def _check_quotes(row: list[str], is_there: Callable[[str], bool], where: str) -> None:
    """Raise DataError if a quoted text contains what looks like further rows."""
    for field in row:
        for text in _LINES.split(field)[1:]:
            name, comma, _ = text.partition(",")
            name = name.strip('"')
            if comma and name and is_there(name):
                raise DataError(f"{where}: the quote that opens here is still open at {name!r}")


def _json_lines(
    table: Path, is_there: Callable[[str], bool], columns: tuple[str, str]
) -> Iterator[tuple[int, Mapping[str, object]]]:
    """(line, values) of every line that is not blank."""
    for line, values in json_rows(_text(table), quoted(table)):
        yield line, {**{name.strip().lower(): one for name, one in values.items()}, **values}


def json_rows(text: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, values) of every line that is not blank; only \\n ends a line.

    What is no object has no values.

    Raises:
        DataError: a line is not JSON, or has a key twice; the message gives the line.
    """
    for line, one in enumerate(text.split("\n"), start=1):
        if not one.strip():
            continue
        try:
            value = parse_json(one, _once)
        except ValueError as error:
            raise DataError(f"{name}, line {line} is not JSON: {error}") from None
        yield line, value if isinstance(value, dict) else {}


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice!r} appears twice")
    return values
