"""Talking to a person: lines, tables, and numbers in words."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from ..errors import UnclipWarning
from ._result import current

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 110
"""Columns for tables where nobody knows the terminal's width."""


LONGEST = 2000
"""Most letters of an error's line."""

_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal obeys, what turns a line's direction, and halves of letters."""


def printable(text: str) -> str:
    """A text that anybody may have written, its commands to a terminal written out."""
    return _COMMANDS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def say(text: str, err: bool = False) -> None:
    """A line of a command's result, on stdout; with `err` on stderr."""
    typer.echo(printable(text), err=err)


def complain(text: str, kind: str = "error") -> None:
    """One line on stderr; on a terminal, red for an error and yellow for a warning."""
    line = printable(" ".join(text.split()))
    line = line if len(line) <= LONGEST else f"{line[:LONGEST]}..."
    if kind == "warning":
        current().warnings.append(line)
    colour = {"error": typer.colors.RED, "warning": typer.colors.YELLOW}.get(kind)
    typer.secho(f"unclip: {kind}: {line}" if kind else f"unclip: {line}", fg=colour, err=True)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Each `UnclipWarning` becomes one line on stderr, however often it is given."""
    said: set[str] = set()
    show = warnings.showwarning

    def show_once(
        message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any
    ) -> None:
        if not issubclass(category, UnclipWarning):
            show(message, category, *args, **kwargs)
        elif str(message) not in said:
            said.add(str(message))
            complain(str(message), "warning")

    with warnings.catch_warnings():
        warnings.simplefilter("always", UnclipWarning)
        warnings.showwarning = show_once
        yield


def console(stderr: bool = False) -> Console:
    """A rich console that does not squeeze tables where its output goes to a file."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else WIDTH, markup=False)


def si(value: float, unit: str = "") -> str:
    """13_836_428 -> '13.8 M'; with unit 'FLOP', '13.8 MFLOP'."""
    prefixes = ("", "k", "M", "G", "T", "P", "E", "Z")
    power = 0
    while value >= 999.5 and power < len(prefixes) - 1:
        value, power = value / 1000, power + 1
    digits = f"{value:.3g}" if value < 999.5 else f"{value:.0f}"
    return f"{digits} {prefixes[power]}{unit}".rstrip()


def size(count: float) -> str:
    """Bytes in words: '14.0 MiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def duration(seconds: float) -> str:
    """Seconds in words: '3.2 s', '12 min', '2 h 05 min', '3.1 days', '4 years'."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    days = minutes / 60 / 24
    return f"{days:.1f} days" if days < 1000 else f"{days / 365.25:,.0f} years"
