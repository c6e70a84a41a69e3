"""A line of JSON for everything, in `STAGE/log.jsonl` of the run's folder.

A step that is done again, after a kill or a step back, is logged again: the later line counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...files import writing
from . import Place

FILE = "log.jsonl"


class JsonLines:
    """Appends to a file, which nothing else needs to be installed for."""

    def __init__(self, place: Place) -> None:
        self.path = place.folder / place.stage / FILE
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.is_file() and self.path.read_bytes()[-1:] not in (b"", b"\n"):
                self._append("")  # after a line of a process that was killed

    def _append(self, line: str) -> None:
        with writing(self.path), self.path.open("a", encoding="utf-8") as opened:
            opened.write(f"{line}\n")

    def _write(self, values: dict[str, Any]) -> None:
        self._append(json.dumps(values, ensure_ascii=False))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """See `Logger`. What is not finite is null, as JSON has no such number."""
        known = {key: value if math.isfinite(value) else None for key, value in values.items()}
        self._write({"step": step, **known})

    def note(self, step: int, line: str) -> None:
        """See `Logger`."""
        self._write({"step": step, "note": line})

    def picture(self, step: int, file: Path) -> None:
        """See `Logger`."""
        self._write({"step": step, "preview": file.name})

    def close(self) -> None:
        """See `Logger`: nothing is kept open."""


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a stage's folder, without the numbers of steps that were done again."""
    lines: list[dict[str, Any]] = []
    for line in _parsed(folder / FILE):
        if "note" not in line:
            while lines and "note" not in lines[-1] and _replaces(line, lines[-1]):
                lines.pop()
        lines.append(line)
    return lines


def _replaces(line: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether an earlier line is of a later step, or of the same one with the same numbers."""
    same = line["step"] == before["step"] and bool(line.keys() & before.keys() - {"step"})
    return bool(line["step"] < before["step"] or same)


def _parsed(path: Path) -> Iterator[dict[str, Any]]:
    try:
        texts = path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return
    for text in texts:
        try:
            line = json.loads(text)
        except ValueError:  # torn by a kill
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            yield line


LOGGER = JsonLines
