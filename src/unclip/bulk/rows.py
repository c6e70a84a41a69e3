"""Files of prompts: a text with one a line, or a CSV table or JSON lines with settings too."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ..config import override, shown
from ..data._tables import csv_rows, json_rows
from ..errors import DataError, UsageError, quoted
from ..files import decoded, relative
from ..request import Drawing

STDIN = "-"
OUTPUT = "output"
"""The column with the name of a row's picture."""
BYTES = 64 * 2**20
"""Largest file of prompts."""


@dataclass(frozen=True)
class Row:
    """A prompt and what is set with it, by the names of a request's fields and of settings."""

    values: Mapping[str, Any]
    where: str = ""  # the file and the line, for errors
    line: int | None = None
    written: bool = False  # values are text, of which numbers are still to be read

    def split(self, request: type[Drawing]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Fields of a request and settings of the sampling. Raises UsageError."""
        fields: dict[str, Any] = {}
        settings: dict[str, Any] = {}
        for column, value in self.values.items():
            name = column.replace("-", "_")
            known = request.model_fields.get(name)
            if name == "settings" or (known is not None and known.annotation is Any):
                text = f"column '{column}' cannot be set in a file of prompts"
                raise UsageError(text).about(column)
            read = self.written and not (known and _is_text(known.annotation))
            own = override({}, [f"value={value}"])["value"] if read else value
            (settings if known is None else fields)[name] = own
        settings.pop(OUTPUT, None)
        return fields, settings

    @property
    def output(self) -> str:
        """The name of its picture; empty where it has none. Raises UsageError."""
        name = self.values.get(OUTPUT, "")
        if not isinstance(name, str):
            raise UsageError(f"{OUTPUT} must be text, got {shown(name)}")
        try:
            return name and relative(name)
        except ValueError as error:
            raise UsageError(f"{OUTPUT} is {error}; give a name within the folder") from None


def _is_text(annotation: Any) -> bool:
    return annotation is str or any(_is_text(one) for one in get_args(annotation))


def read_rows(path: str) -> list[Row]:
    """The rows of a file; `-` is stdin.

    A .csv has a line with the names of its columns first, a .jsonl one object a line; both need
    `prompt`. Empty cells and nulls set nothing. Any line of a .txt is a prompt. Files without a
    suffix are JSON lines if the first line is an object, else text.

    Raises:
        UsageError: it cannot be read, has no prompts, or a row is malformed; with file and line.
    """
    name, kind = "stdin" if path == STDIN else quoted(path), Path(path).suffix.lower()
    if kind not in ("", ".txt", ".csv", ".jsonl"):
        raise UsageError(f"cannot read prompts from {name}: give a .txt, .csv or .jsonl file")
    text = _text(path, name)
    if not kind and text.lstrip().startswith('{"'):
        kind = ".jsonl"
    try:
        rows = list(_table(text, name, kind) if kind in (".csv", ".jsonl") else _lines(text, name))
    except DataError as error:
        raise UsageError(str(error)) from None
    if not rows:
        raise UsageError(f"{name} has no prompts")
    return rows


def _text(path: str, name: str) -> str:
    try:
        if path == STDIN:
            return decoded(_stdin())
        with Path(path).expanduser().open("rb") as file:
            data = file.read(BYTES + 1)
        if len(data) > BYTES:
            raise ValueError(f"it is longer than {BYTES} bytes")
        return decoded(data)
    except OSError as error:
        raise UsageError(f"cannot read prompts from {name}: {error.strerror or error}") from None
    except ValueError as error:
        raise UsageError(f"cannot read prompts from {name}: {error}") from None


def _stdin() -> bytes:
    if sys.stdin is None or sys.stdin.closed:
        raise ValueError("it is closed")
    data: bytes = sys.stdin.buffer.read(BYTES + 1)
    return data


def _lines(text: str, name: str) -> list[Row]:
    """A prompt each, without spaces around it; empty lines are none."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    pairs = ((line, one.strip()) for line, one in enumerate(lines, start=1))
    return [Row({"prompt": one}, f"{name}, line {line}", line) for line, one in pairs if one]


def _table(text: str, name: str, kind: str) -> list[Row]:
    rows = []
    table: Any = (
        csv_rows(text, name, ["prompt"], once=True) if kind == ".csv" else json_rows(text, name)
    )
    for line, values in table:
        where = f"{name}, line {line}"
        given = {key: one for key, one in values.items() if one is not None and one != ""}
        if "prompt" not in given:
            wanted = 'give {"prompt": "a fox", ...}' if kind == ".jsonl" else "say what to draw"
            raise UsageError(f"{where}: prompt is missing or empty; {wanted}")
        rows.append(Row(given, where, line, written=kind == ".csv"))
    return rows
