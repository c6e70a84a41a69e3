"""Change one key of a TOML text and nothing else: comments and order stay."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any


def changed(text: str, key: str, value: Any) -> str:
    """The text with `section.key` set to a value, or, with None, without it.

    Raises:
        KeyError: it is to be removed, and is not there.
        ValueError: it is there in a way that cannot be changed line by line.
    """
    section, _, name = key.rpartition(".")
    wanted = _with(tomllib.loads(text), section, name, value)
    lines = text.splitlines()
    start, end = _span(lines, section)
    line = None if value is None else f"{name} = {written(value)}"
    if start is None:
        lines += [*([""] if lines else []), f"[{section}]", *([line] if line else [])]
    else:
        at = [i for i in range(start, end) if re.match(rf"\s*{re.escape(name)}\s*=", lines[i])]
        free = _last(lines, start, end)
        where = slice(at[0], at[0] + 1) if at else slice(free, free)
        lines[where] = [] if line is None else [line]
    new = "\n".join(lines) + "\n" if lines else ""
    try:
        if tomllib.loads(new) == wanted:
            return new
    except tomllib.TOMLDecodeError:
        pass
    raise ValueError(f"{key} is set over several lines or in a table")


def _with(values: dict[str, Any], section: str, name: str, value: Any) -> dict[str, Any]:
    """What the new text has to hold."""
    table = values
    for part in filter(None, section.split(".")):
        table = table.setdefault(part, {}) if value is not None else table[part]
        if not isinstance(table, dict):
            raise ValueError(f"{part} is a value, not a section")
    if value is None:
        del table[name]
    else:
        table[name] = value
    return values


def _span(lines: list[str], section: str) -> tuple[int | None, int]:
    """The lines of a section, its head left out; None and the end where there is none."""
    heads = [i for i, line in enumerate(lines) if re.match(r"\s*\[", line)]
    if not section:
        return 0, heads[0] if heads else len(lines)
    for number, i in enumerate(heads):
        if re.sub(r"\s", "", lines[i].partition("#")[0]) == f"[{section}]":
            return i + 1, heads[number + 1] if number + 1 < len(heads) else len(lines)
    return None, len(lines)


def _last(lines: list[str], start: int, end: int) -> int:
    """Where a section's next line goes: before empty lines, and the comment of the next head."""
    own = end
    while end < len(lines) and own > start and lines[own - 1].lstrip().startswith("#"):
        own -= 1
    end = own if own > start else end
    while end > start and not lines[end - 1].strip():
        end -= 1
    return end


def written(value: Any) -> str:
    """A text, a number, true, false, or a list of them, as TOML; texts are JSON's, which are."""
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
