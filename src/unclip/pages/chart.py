"""Where everything stands in a diagram; `templates/chart.svg` draws it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .report import Curve, Line

WIDTH, HEIGHT = 720, 340
LEFT, RIGHT, TOP, BOTTOM = 62, WIDTH - 150, 14, HEIGHT - 46
COLOURS = ("#2f6db5", "#c4572b", "#3d8b4f", "#8657b8", "#a8801d", "#4a4f57")
"""Of lines where nothing reads the page's style, as in some viewers."""

Place = tuple[float, float]


@dataclass(frozen=True)
class Drawn:
    """A line on the paper: its points, (x, low, high) of their spreads, where its name stands."""

    name: str
    number: int
    colour: str
    points: list[Place]
    spreads: list[tuple[float, float, float]]
    label: Place
    faint: bool


class Chart:
    """A curve's marks in pixels. Points that are no finite number are left out."""

    def __init__(self, curve: Curve) -> None:
        self.curve = curve
        self._y: Callable[[float], float] = math.log10 if curve.log else float
        points = [point for line in curve.lines for point in self._shown(line)]
        self.empty = not points
        if self.empty:
            return
        ys = [y for _, y in (*points, *curve.levels)]
        ys += [y for line in curve.lines for _, *ends in line.reaches for y in ends]
        self.xs = _span([x for x, _ in points], tight=True)
        shown = [y for y in ys if math.isfinite(y) and (y > 0 or not curve.log)]
        self.ys = _span([self._y(y) for y in shown], tight=curve.log)
        self.x_ticks = [(value, self.at(value, 1)[0]) for value in ticks(*self.xs)]
        marks = log_ticks(*self.ys) if curve.log else ticks(*self.ys)
        self.y_ticks = [(value, self.at(0, value)[1]) for value in marks]
        self.levels = [(name, self.at(0, y)[1]) for name, y in curve.levels]
        taken = [y for _, y in self.levels]
        lines = [(number, line) for number, line in enumerate(curve.lines) if self._shown(line)]
        self.lines = [self._drawn(line, number, taken) for number, line in lines]

    def at(self, x: float, y: float) -> Place:
        """The pixel of a value."""
        across = (x - self.xs[0]) / (self.xs[1] - self.xs[0])
        up = (self._y(y) - self.ys[0]) / (self.ys[1] - self.ys[0])
        return round(LEFT + across * (RIGHT - LEFT), 1), round(BOTTOM - up * (BOTTOM - TOP), 1)

    def _drawn(self, line: Line, number: int, taken: list[float]) -> Drawn:
        points = [self.at(*point) for point in self._shown(line)]
        spreads = [(*self.at(x, low), self.at(x, high)[1]) for x, low, high in line.reaches]
        x, y = points[-1]
        number %= len(COLOURS)
        label = (x, _free(y, taken) if line.name else y)
        return Drawn(line.name, number, COLOURS[number], points, spreads, label, line.faint)

    def _shown(self, line: Line) -> list[Place]:
        """Points that have a place."""
        finite = [point for point in line.points if all(map(math.isfinite, point))]
        return [(x, y) for x, y in finite if y > 0 or not self.curve.log]


def _free(y: float, taken: list[float]) -> float:
    """A place for a name near `y` where no other name stands."""
    for off in (0, -14, 14, -28, 28, -42, 42):
        if all(abs(y + off - other) >= 13 for other in taken):
            y += off
            break
    taken.append(y)
    return y


def _span(values: Sequence[float], tight: bool = False) -> tuple[float, float]:
    """From the least to the greatest, with a little room, and 0 where it is near."""
    low, high = min(values), max(values)
    room = (high - low) or abs(high) or 1.0
    if tight:
        return (low, high) if high > low else (low - room / 2, high + room / 2)
    bottom = 0.0 if 0 <= low <= 1.5 * room else low - 0.08 * room
    return bottom, high + 0.08 * room


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, 1, 2 or 5 times a power of ten apart."""
    step = 10 ** math.floor(math.log10((high - low) / about))
    step *= next(times for times in (1, 2, 5, 10) if (high - low) / (step * times) <= about)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten from 10^low to 10^high; the powers alone where these do."""
    powers = range(math.floor(low) - 1, math.ceil(high) + 1)
    times = (1,) if high - low > 3 else (1, 2, 5) if high - low > 0.5 else range(1, 10)
    marks = [float(f"{one}e{power}") for power in powers for one in times]
    return [mark for mark in marks if low - 1e-9 <= math.log10(mark) <= high + 1e-9]
