"""Where the numbers of a training go. A new file whose `LOGGER` is a class is a new logger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...registry import Registry

ALWAYS = "jsonl"
"""The logger that the run's report is made of."""


@dataclass(frozen=True)
class Place:
    """What is logged.

    Args:
        folder: of the run.
        run: its name.
        stage: the stage's name.
        step: that it begins or goes on at: what was logged after it is done again.
        recipe: as plain values.
    """

    folder: Path
    run: str
    stage: str
    step: int
    recipe: dict[str, Any]


class Logger(Protocol):
    """One place where numbers go.

    Raises:
        UsageError: what it needs is not installed.
    """

    def __init__(self, place: Place) -> None: ...

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Numbers of a step, by their names."""

    def note(self, step: int, line: str) -> None:
        """Something that happened: a step was skipped, a worker killed."""

    def picture(self, step: int, file: Path) -> None:
        """A preview was drawn into a PNG."""

    def close(self) -> None:
        """Nothing comes any more."""


LOGGERS: Registry[type[Logger]] = Registry("unclip.train.loggers", "LOGGER", "logger")


def open_loggers(names: Sequence[str], place: Place) -> list[Logger]:
    """Loggers by their names, each once, and the one that is always there.

    Raises:
        UsageError: there is no logger of that name, or what it needs is not installed.
    """
    return [LOGGERS[name](place) for name in dict.fromkeys([ALWAYS, *names])]
