"""Diagrams as pictures, for where no SVG is shown."""

from __future__ import annotations

from itertools import pairwise

from PIL import Image, ImageColor, ImageDraw, ImageFont

from . import chart
from .report import Curve

SCALE = 2
"""Pixels for one of the diagram's."""

HEAD = 18
"""Above the diagram, for its title."""

PAPER, INK, RULE = "#fdfdfc", "#5d6670", "#dfe2e6"


def png(curve: Curve) -> Image.Image:
    """A diagram on light paper, twice as large as the SVG."""
    sheet = Image.new("RGB", (SCALE * chart.WIDTH, SCALE * (HEAD + chart.HEIGHT)), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(SCALE * 12)
    made = chart.Chart(curve)
    if made.empty:
        return sheet

    def text(x: float, y: float, words: str, anchor: str, fill: str = INK) -> None:
        draw.text((SCALE * x, SCALE * (HEAD + y)), words, fill, font, anchor)

    def line(points: list[chart.Place], fill: str, width: int = 1) -> None:
        for (a, b), (c, d) in pairwise(points):
            ends = (a, HEAD + b, c, HEAD + d)
            draw.line([SCALE * one for one in ends], fill, SCALE * width)

    for value, y in made.y_ticks:
        line([(chart.LEFT, y), (chart.RIGHT, y)], RULE)
        text(chart.LEFT - 8, y, f"{value:g}", "rm")
    for value, x in made.x_ticks:
        text(x, chart.BOTTOM + 14, f"{value:g}", "mm")
    line([(chart.LEFT, chart.TOP), (chart.LEFT, chart.BOTTOM), (chart.RIGHT, chart.BOTTOM)], INK)
    text((chart.LEFT + chart.RIGHT) / 2, chart.HEIGHT - 8, curve.x, "mm")
    text(chart.LEFT, chart.TOP - 15, f"{curve.title}: {curve.y}", "lm")
    for one in made.lines:
        colour = _faint(one.colour) if one.faint else one.colour
        line(one.points, colour, 1 if one.faint else 2)
        x, y = one.label
        text(x + 9, y, one.name, "lm", one.colour)
    return sheet


def _faint(colour: str) -> str:
    """A third of a colour on the paper."""
    pairs = zip(ImageColor.getrgb(colour), ImageColor.getrgb(PAPER), strict=True)
    return "#" + "".join(f"{round(0.35 * one + 0.65 * paper):02x}" for one, paper in pairs)
