"""What is drawn of a long job: a line of JSON for each picture, beside the pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from ..errors import UsageError, quoted
from ..files import text_of, write_text, writing
from ..media import read_image_and_record
from ..plain import parse_json
from ..record import Record

NAME = "manifest.jsonl"

Key = tuple[str, str]
"""A prompt as written, and the picture that it begins from."""


@dataclass(frozen=True)
class Entry:
    """A picture: its file, relative to the manifest, its record, and where it comes from."""

    file: str
    record: Record
    row: int | None = None  # line in the file of prompts
    sources: Mapping[str, str] = field(default_factory=dict)  # files it was made of, by argument
    any_seed: bool = False  # nobody asked for its seed

    @property
    def key(self) -> Key:
        """What asked for it."""
        written = self.record.inputs.get("template", self.record.prompt)
        return written, self.sources.get("image", "")

    def to_json(self) -> str:
        """One line: the record's values, and those of its own."""
        own = {"file": self.file, "row": self.row, "sources": dict(self.sources)}
        own["any_seed"] = self.any_seed
        kept = {name: value for name, value in own.items() if value not in (None, {}, False)}
        return json.dumps(kept | json.loads(self.record.to_json()), ensure_ascii=False)

    @classmethod
    def parse(cls, line: str) -> Self:
        """Raises ValueError."""
        values = parse_json(line)
        if not isinstance(values, dict) or not isinstance(values.get("file"), str):
            raise ValueError("it names no file")
        file, row, sources = values.pop("file"), values.pop("row", None), values.pop("sources", {})
        any_seed = values.pop("any_seed", False) is True
        if not isinstance(sources, dict) or not isinstance(row, int | None):
            raise ValueError("its row or its sources are no such")
        return cls(file, Record.parse(json.dumps(values)), row, sources, any_seed)


def alike(found: Record, wanted: Record) -> bool:
    """Whether two records ask the same of the same model, wherever it was drawn."""
    names = ("ability", "prompt", "seed", "model_hash")
    same = all(getattr(found, name) == getattr(wanted, name) for name in names)
    return same and json.dumps(found.settings, sort_keys=True) == json.dumps(
        wanted.settings, sort_keys=True
    )


class Manifest:
    """The entries of a folder; each new one is on disk before `add` returns.

    A line that was cut off as it was written, the last, is dropped.

    Args:
        folder: of the pictures.

    Raises:
        UsageError: the manifest that is there cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / NAME
        self._entries: dict[str, Entry] = {}
        self.seeds: dict[Key, list[int]] = {}  # of each row's first picture, where any would do
        self._rows: set[tuple[Key, int | None]] = set()
        for entry in self._read():
            self._note(entry)

    def _read(self) -> list[Entry]:
        try:
            text = text_of(self.path)
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"cannot read {quoted(self.path)}: {reason}") from None
        whole, _, cut = text.rpartition("\n")
        entries = []
        for number, line in enumerate(whole.split("\n") if whole else [], start=1):
            try:
                entries.append(Entry.parse(line))
            except (ValueError, UsageError) as error:
                raise UsageError(
                    f"{quoted(self.path)}, line {number} is damaged ({error}): mend or move it away"
                ) from None
        if cut:
            write_text(self.path, f"{whole}\n" if whole else "")
        return entries

    def _note(self, entry: Entry) -> None:
        self._entries[entry.file] = entry
        row, seeds = (entry.key, entry.row), self.seeds.setdefault(entry.key, [])
        if entry.any_seed and row not in self._rows and entry.record.seed not in seeds:
            self._rows.add(row)
            seeds.append(entry.record.seed)

    def add(self, entries: list[Entry]) -> None:
        """Write further entries. Raises OutputError."""
        lines = "".join(f"{entry.to_json()}\n" for entry in entries)
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        for entry in entries:
            self._note(entry)

    def has(self, entry: Entry) -> bool:
        """Whether this very picture is listed, with its file there."""
        listed = self._entries.get(entry.file)
        if listed is None or not (self.folder / entry.file).exists():
            return False
        return alike(listed.record, entry.record) and listed.sources == dict(entry.sources)

    def finds(self, entry: Entry) -> bool:
        """Whether the file is this picture, by its own record, though it is not listed."""
        path = self.folder / entry.file
        if entry.file in self._entries or not path.is_file():
            return False
        try:
            return alike(Record.parse(read_image_and_record(path)[1]), entry.record)
        except UsageError:
            return False
