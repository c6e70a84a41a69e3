"""What a command tells programs: with `--json`, one object on stdout, and all else on stderr."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from ..errors import UnclipError, is_of_memory

FLAG = "--json"

EXIT_CODES = {
    0: "Done.",
    1: "Failed; one line on stderr says why. Also: `replay` drew another picture, `doctor` found a "
    "fault.",
    2: "Asked for wrongly: an unknown option, a value out of range, a mistyped setting.",
    3: "`train` stopped when its time was up; --resume goes on.",
    130: "Cancelled by Ctrl-C, SIGTERM or SIGHUP.",
}
"""What the command line ends with."""


@dataclass
class Result:
    """Of one command: fields of its own, and what every command has."""

    wanted: bool = False
    command: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    error: dict[str, Any] | None = None
    began: float = field(default_factory=time.monotonic)

    def to_json(self, exit_code: int) -> str:
        """One line of ASCII, which every stdout takes."""
        values = {"command": self.command, "exit_code": exit_code, **self.fields}
        values["warnings"] = self.warnings
        values["seconds"] = round(time.monotonic() - self.began, 3)
        if self.error is not None:
            values["error"] = self.error
        return json.dumps(_finite(values), allow_nan=False, default=str)


_current: ContextVar[Result | None] = ContextVar("result", default=None)


@contextmanager
def collecting() -> Iterator[Result]:
    """Within, `report` adds to the result that this gives."""
    token = _current.set(result := Result())
    try:
        yield result
    finally:
        _current.reset(token)


def current() -> Result:
    """Of the command that runs; elsewhere one that nobody reads."""
    return _current.get() or Result()


def report(**fields: Any) -> None:
    """Add to the result; a list is added to what its field holds."""
    own = current().fields
    for name, value in fields.items():
        own[name] = [*own.get(name, []), *value] if isinstance(value, list) else value


def fail(message: str, code: str, about: str | None = None) -> None:
    """Put an error into the result.

    Args:
        code: its kind, as `UnclipError.code`.
        about: the field at fault.
    """
    current().error = {"message": message, "field": about, "code": code}


def asks_for_json(words: Sequence[str]) -> bool:
    """Whether a command line does that cannot be understood."""
    return FLAG in words[: words.index("--") if "--" in words else None]


def code_of(error: Exception) -> str:
    """The kind of an error, `internal` where nobody foresaw it."""
    if isinstance(error, UnclipError):
        return error.code
    if is_of_memory(error):
        return "memory"
    return "usage" if hasattr(error, "format_message") else "internal"


def _finite(value: Any) -> Any:
    """JSON has no infinite numbers: null stands for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value
