"""The report's parts, as plain values: what was measured, before it becomes a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from ..media import scale_to
from .intervals import Share


@dataclass(frozen=True)
class Cell:
    """A number or a word in a table."""

    text: str
    note: str = ""  # smaller, behind it: an interval
    bar: tuple[float, float, float] | None = None  # value, low, high from 0 to 1, drawn beneath
    strong: bool = False  # to be seen first


NUMERIC = tuple("0123456789+-−–±<>")
"""What a number, or the dash in its place, begins with."""


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first column holds names."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    words: bool = False  # its cells are texts, not numbers

    @property
    def texts(self) -> list[bool]:
        """Which columns hold texts, and are set to the left: no cell begins as a number does."""
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(self.head)
        return [
            self.words or not any(one.text[:1] in NUMERIC for one in cells) for cells in columns
        ]


@dataclass(frozen=True)
class Line:
    """Points (x, y) joined in a diagram, with the spread of each y where it is known."""

    name: str
    points: tuple[tuple[float, float], ...]
    spread: tuple[float, ...] = ()
    faint: bool = False  # behind the others

    @property
    def reaches(self) -> list[tuple[float, float, float]]:
        """(x, lowest y, highest y) of each point whose spread is known."""
        pairs = zip(self.points, self.spread, strict=True) if self.spread else ()
        return [(x, y - reach, y + reach) for (x, y), reach in pairs]


@dataclass(frozen=True)
class Curve:
    """A diagram. `levels` are dashed lines across it: (name, y)."""

    title: str
    x: str
    y: str
    lines: tuple[Line, ...]
    levels: tuple[tuple[str, float], ...] = ()
    note: str = ""
    log: bool = False  # y is on a logarithmic axis; what is not above 0 is left out


@dataclass(frozen=True)
class Grid:
    """Pictures with a line under each."""

    title: str
    pictures: tuple[Image.Image, ...]
    labels: tuple[str, ...] = ()
    columns: int = 8
    note: str = ""


Part = Table | Curve | Grid


@dataclass(frozen=True)
class Section:
    """A heading with a paragraph and what is shown under it."""

    name: str
    title: str
    text: str
    parts: tuple[Part, ...]
    beside: bool = False  # its diagrams stand two in a row


@dataclass(frozen=True)
class Report:
    """All of it."""

    title: str
    lead: str  # what was done, in a sentence or two
    headline: tuple[tuple[str, Cell], ...] = ()  # (what, cell): the few numbers to see first
    sections: tuple[Section, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()  # (what, why)
    facts: tuple[tuple[str, str], ...] = ()  # (label, value): the command, the hashes
    facts_title: str = "How to repeat it"
    values: dict[str, Any] = field(default_factory=dict)  # the same as plain data, for JSON


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many digits that count, never in powers of ten between 0.001 and 10,000."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 10_000 or size < 1e-3:
        return f"{value:.{digits - 1}e}".replace("e-0", "e-").replace("e+0", "e")
    places = max(0, digits - len(str(int(size))) + (size < 1))
    return f"{value:,.{places}f}"


def share(one: Share | None, bar: bool = True, strong: bool = False) -> Cell:
    """A share with its interval; a dash where nothing was counted."""
    if one is None or not one.total:
        return Cell("–")
    low, high = one.interval
    text = "1" if one.right == one.total else f"{one.value:.3f}"
    drawn = (one.value, low, high) if bar else None
    return Cell(text, f"{low:.3f}–{high:.3f}", drawn, strong)


def estimate(value: float, deviation: float | None, scale: float = 1, strong: bool = False) -> Cell:
    """A number with its standard deviation."""
    note = "" if deviation is None else f"± {number(scale * deviation, 2)}"
    return Cell(number(scale * value), note, None, strong)


def row(name: str, *cells: Cell | str) -> tuple[Cell, ...]:
    """A row of a table."""
    return (Cell(name), *(Cell(one) if isinstance(one, str) else one for one in cells))


def shown(pictures: Sequence[Image.Image], length: int) -> tuple[Image.Image, ...]:
    """Pictures whose longer side is `length`, for a grid."""
    return tuple(scale_to(one, length) for one in pictures)
