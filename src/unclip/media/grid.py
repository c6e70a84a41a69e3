"""Grids of pictures, optionally with captions."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from PIL import Image, ImageDraw, ImageFont

GAP = 4
"""Pixels between cells."""


@dataclass(frozen=True)
class Grid:
    """The layout of a sheet of `count` cells of `size`, without pictures."""

    count: int
    size: tuple[int, int]
    columns: int | None = None  # default: as square as possible
    labels: Sequence[str] | None = None

    @property
    def across(self) -> int:
        """Pictures per row."""
        return self.columns or math.ceil(math.sqrt(self.count))

    @cached_property
    def font(self) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
        """Font of the labels."""
        return ImageFont.load_default(size=max(10, min(16, self.size[0] // 12)))

    @property
    def line(self) -> int:
        """Height of a line of text."""
        return int(self.font.size * 1.25) if hasattr(self.font, "size") else 12

    @cached_property
    def lines(self) -> list[list[str]]:
        """The lines of each label."""
        return _wrap(self.labels, self.size[0], self.line) if self.labels else []

    @property
    def cell(self) -> tuple[int, int]:
        """A picture with its label and the gap after it."""
        foot = self.line * max((len(text) for text in self.lines), default=0)
        return self.size[0] + GAP, self.size[1] + foot + GAP

    @property
    def whole(self) -> tuple[int, int]:
        """The sheet's width and height."""
        (width, height), down = self.cell, math.ceil(self.count / self.across)
        return self.across * width - GAP, down * height - GAP


def make_grid(
    pictures: Sequence[Image.Image],
    columns: int | None = None,
    labels: Sequence[str] | None = None,
) -> Image.Image:
    """Arrange pictures in rows on white.

    Args:
        pictures: at least one; the first one sets the size of the cells.
        columns: pictures per row; by default as square as possible.
        labels: short texts under the pictures.
    """
    grid = Grid(len(pictures), pictures[0].size, columns, labels)
    sheet = Image.new("RGB", grid.whole, "white")
    draw = ImageDraw.Draw(sheet)
    (width, height), lines = grid.cell, grid.lines
    for index, picture in enumerate(pictures):
        x, y = index % grid.across * width, index // grid.across * height
        sheet.paste(picture.convert("RGB"), (x, y))
        for number, text in enumerate(lines[index] if lines else []):
            place = (x + 2, y + grid.size[1] + number * grid.line)
            draw.text(place, text, fill="black", font=grid.font)
    return sheet


def _wrap(labels: Sequence[str], width: int, line: int) -> list[list[str]]:
    """Wrap each label to `width` pixels, in at most three lines."""
    letters = max(6, int(width / (line * 0.42)))
    return [textwrap.wrap(label, letters)[:3] for label in labels]
