"""Work divided in shards, each of which is written by itself: whole, once, wherever it is done.

DIR/manifest.json        what is made, with its settings; `complete` at the end
DIR/shards/00000.json    what a shard holds. It is written last: a shard without it is not there

An engine does shards: `here` in this process, `cluster.RayEngine` on other machines. Each calls
`Shards.do` for every number that it is given, and nothing else.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..errors import OutputError, UsageError, counted
from ..files import remove_leftovers, write_json
from ..plain import read_json

FORMAT = 1
MANIFEST, NOTES = "manifest.json", "shards"

Note = Mapping[str, Any]
"""What a shard holds, as JSON."""

Tell = Callable[[int], None]
"""Takes how many things of a shard are done."""

Make = Callable[[int, Tell], Note]
"""Writes the files of a shard, and says what they hold."""


class Work(ABC):
    """What the shards are made of. It can be sent to another process, and opened there."""

    command: str  # that makes it

    @property
    @abstractmethod
    def things(self) -> Sequence[int]:
        """How many things each shard is made of."""

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """What all shards depend on, as JSON, by the options' names."""

    @abstractmethod
    def digest(self, number: int) -> str:
        """What a shard is made of, beside the settings: with another it is done again."""

    @abstractmethod
    def open(self, folder: Path) -> Make:
        """Load what the work needs, once a process."""


class Engine(Protocol):
    """Does shards, here or elsewhere, each with `shards.do`."""

    def __call__(self, shards: Shards, numbers: Sequence[int], tell: Tell) -> None:
        """Do these; `tell` is told how many more things are done."""


@dataclass
class Shards:
    """The shards of some work in a folder.

    Args:
        folder: where they are; on a cluster all machines see it under this path.
    """

    work: Work
    folder: Path
    _make: Make | None = field(default=None, repr=False)

    def begin(self) -> None:
        """Take the folder, and remove what a killed process left half-written in it.

        Raises:
            OutputError: it holds something else, or cannot be written to.
            UsageError: it was begun with other settings.
        """
        manifest, now = self.folder / MANIFEST, dict(self.work.settings)
        if not manifest.is_file():
            if self.folder.is_dir() and any(self.folder.iterdir()):
                text = f"{self.folder} holds something else: choose another --out"
                raise OutputError(text).about("out")
            self.write_manifest(complete=False)
            return
        before = _read(manifest)
        if before.get("command") != self.work.command:
            text = f"{self.folder} holds what `unclip {before.get('command')}` made"
            raise UsageError(f"{text}: choose another --out").about("out")
        old = before.get("settings", {})
        for key in now:
            if old.get(key) != now[key]:
                raise UsageError(
                    f"{self.folder} was begun with {key} {_told(old.get(key))}, and now it is "
                    f"{_told(now[key])}: give the same, or choose another --out"
                ).about("out")
        remove_leftovers(self.folder)
        self.write_manifest(complete=False)

    def missing(self) -> list[int]:
        """The numbers of the shards that are not there."""
        return [n for n in range(len(self.work.things)) if self.note(n) is None]

    def note(self, number: int) -> dict[str, Any] | None:
        """What a shard holds; None where it is not there, or was made of other things."""
        file = self._file(number)
        values = _read(file) if file.is_file() else {}
        return values if values.get("made_of") == self.work.digest(number) else None

    def notes(self) -> Iterator[dict[str, Any]]:
        """What each shard holds, in order; all are there."""
        for number in range(len(self.work.things)):
            note = self.note(number)
            if note is None:
                raise OutputError(f"{self._file(number)} is gone: the same command makes it again")
            yield note

    def do(self, number: int, tell: Tell = lambda done: None) -> None:
        """Write a shard, unless it is there."""
        if self.note(number) is not None:
            return
        if self._make is None:
            if not (self.folder / MANIFEST).is_file():
                raise OutputError(
                    f"this machine does not see {self.folder}: on a cluster --out is a folder that "
                    "all machines share, under one path"
                )
            self._make = self.work.open(self.folder)
        self.rewrite(number, self._make(number, tell))

    def rewrite(self, number: int, note: Note) -> None:
        """Say what a shard holds."""
        write_json(self._file(number), {**note, "made_of": self.work.digest(number)})

    def write_manifest(self, complete: bool, **found: Any) -> None:
        """Say what the folder holds."""
        head = {"format": FORMAT, "command": self.work.command, "complete": complete}
        write_json(self.folder / MANIFEST, {**head, "settings": dict(self.work.settings), **found})

    def remove_further(self) -> list[str]:
        """Forget shards beyond the last; returns their numbers as names have them."""
        names = {file.stem: file for file in (self.folder / NOTES).glob("*.json")}
        further = [name for name in names if int(name) >= len(self.work.things)]
        for name in further:
            names[name].unlink()
        return further

    def _file(self, number: int) -> Path:
        return self.folder / NOTES / f"{number:05d}.json"

    def __getstate__(self) -> dict[str, Any]:
        return {"work": self.work, "folder": self.folder, "_make": None}


def here(shards: Shards, numbers: Sequence[int], tell: Tell) -> None:
    """The engine of this process: one shard after the other."""
    for number in numbers:
        shards.do(number, tell)


@dataclass(frozen=True)
class Done:
    """How a run over shards went.

    Args:
        made: shards of this run.
        kept: those that were there.
        seconds: it took.
    """

    made: int
    kept: int
    seconds: float


def complete(
    shards: Shards, engine: Engine, on_progress: Callable[[int, int], None] = lambda done, all: None
) -> Done:
    """Do what is missing.

    Args:
        on_progress: told how many things are done, of how many.

    Raises:
        UnclipError: as `begin`, or a shard cannot be made.
    """
    began = time.monotonic()
    shards.begin()
    things, missing = shards.work.things, shards.missing()
    total = sum(things)
    done = total - sum(things[number] for number in missing)

    def tell(more: int) -> None:
        nonlocal done
        done += more
        on_progress(done, total)

    tell(0)
    if missing:
        engine(shards, missing, tell)
    still = shards.missing()
    if still:
        raise OutputError(f"{counted(len(still), 'shard')} could not be made: run it again")
    remove_leftovers(shards.folder)  # of machines that were lost
    return Done(len(missing), len(things) - len(missing), time.monotonic() - began)


def cut(total: int, size: int) -> list[int]:
    """How many things there are in each shard of at most `size`."""
    return [min(size, total - start) for start in range(0, total, size)]


def _read(file: Path) -> dict[str, Any]:
    """Raises OutputError."""
    try:
        values = read_json(file)
    except (OSError, ValueError) as error:
        raise OutputError(f"{file} is damaged: {error}; remove it, and run it again") from None
    return values if isinstance(values, dict) else {}


def _told(value: object) -> str:
    return "not given" if value is None else str(value)
