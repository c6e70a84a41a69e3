"""Diagrams as SVG that takes its colours from the page around it."""

from __future__ import annotations

import math
from html import escape

from .report import Curve

WIDTH, HEIGHT = 720, 340
LEFT, RIGHT, TOP, BOTTOM = 62, 150, 14, 46
PLAIN = ("#2f6db5", "#c4572b", "#3d8b4f", "#8657b8", "#a8801d", "#4a4f57")
"""Where nothing reads the page's style, as in some viewers: the light colours."""

GREY, PALE = "#5d6670", "#dfe2e6"
WORDS = f'fill="{GREY}" font-size="12" font-family="sans-serif"'


def svg(curve: Curve) -> str:
    """One diagram, its names written at the ends of the lines.

    Points that are no finite number are left out.
    """
    points = [p for line in curve.lines for p in line.points if all(map(math.isfinite, p))]
    if not points:
        return "<p class=note>No point was measured.</p>"
    ys = [y for _, y in points] + [y for _, y in curve.levels]
    for line in curve.lines:
        ys += [y for _, *ends in line.reaches for y in ends]
    frame = _Frame(
        _span([x for x, _ in points], tight=True), _span([y for y in ys if math.isfinite(y)])
    )
    body = [*frame.axes(curve.x, curve.y), *_levels(curve, frame), *_lines(curve, frame)]
    label = escape(f"{curve.title}: {curve.y} against {curve.x}", quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(body)}</svg>'
    )


class _Frame:
    """From values to places on the paper."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.x, self.y = x, y

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return (
            round(LEFT + across * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1),
        )

    def axes(self, x: str, y: str) -> list[str]:
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        out = []
        for value in ticks(*self.y):
            _, at = self.at(self.x[0], value)
            out.append(
                f'<line class="rule" stroke="{PALE}" x1="{LEFT}" y1="{at}" x2="{right}" y2="{at}"/>'
            )
            out.append(
                f'<text {WORDS} x="{LEFT - 8}" y="{at + 4}" text-anchor="end">{value:g}</text>'
            )
        for value in ticks(*self.x):
            at, _ = self.at(value, self.y[0])
            out.append(
                f'<text {WORDS} x="{at}" y="{bottom + 18}" text-anchor="middle">{value:g}</text>'
            )
        out.append(
            f'<path class="axis" fill="none" stroke="{GREY}" d="M{LEFT} {TOP}V{bottom}H{right}"/>'
        )
        middle = (LEFT + right) / 2
        out.append(
            f'<text {WORDS} x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x)}</text>'
        )
        half = (TOP + bottom) / 2
        turn = f'transform="rotate(-90 14 {half})"'
        out.append(
            f'<text {WORDS} x="14" y="{half}" text-anchor="middle" {turn}>{escape(y)}</text>'
        )
        return out


def _lines(curve: Curve, frame: _Frame) -> list[str]:
    out, taken = [], [frame.at(frame.x[1], y)[1] for _, y in curve.levels]
    for index, line in enumerate(curve.lines):
        number = index % len(PLAIN)
        plain, paint = PLAIN[number], f"var(--c{number},{PLAIN[number]})"
        known = [p for p in line.points if all(map(math.isfinite, p))]
        if not known:
            continue
        places = [frame.at(*p) for p in known]
        stroke = f'stroke="{plain}" stroke-width="2" style="stroke:{paint}"'
        fill = f'fill="{plain}" style="fill:{paint}"'
        path = "L".join(f"{x} {y}" for x, y in places)
        out.append(f'<path class="curve" fill="none" {stroke} d="M{path}"/>')
        for x, lowest, highest in line.reaches:
            (at, low), (_, high) = frame.at(x, lowest), frame.at(x, highest)
            out.append(f'<path class="spread" {stroke} d="M{at} {low}V{high}"/>')
        out += [f'<circle cx="{x}" cy="{y}" r="3" {fill}/>' for x, y in places]
        x, y = places[-1]
        y = _free(y, taken)
        place = f'font-size="12" font-family="sans-serif" x="{x + 9}" y="{y + 4}"'
        out.append(f"<text {place} {fill}>{escape(line.name)}</text>")
    return out


def _levels(curve: Curve, frame: _Frame) -> list[str]:
    out = []
    for name, value in curve.levels:
        _, y = frame.at(frame.x[0], value)
        right = WIDTH - RIGHT
        style = f'stroke="{PLAIN[5]}" stroke-dasharray="5 4" style="stroke:var(--c5,{PLAIN[5]})"'
        out.append(f'<line class="level" {style} x1="{LEFT}" y1="{y}" x2="{right}" y2="{y}"/>')
        out.append(f'<text {WORDS} x="{right + 9}" y="{y + 4}">{escape(name)}</text>')
    return out


def _free(y: float, taken: list[float]) -> float:
    """A place for a name near `y` where no other name stands."""
    for off in (0, -14, 14, -28, 28, -42, 42):
        if all(abs(y + off - other) >= 13 for other in taken):
            y += off
            break
    taken.append(y)
    return y


def _span(values: list[float], tight: bool = False) -> tuple[float, float]:
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
