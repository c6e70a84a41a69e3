"""A table of pictures with a name to each row and column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from PIL import Image, ImageDraw, ImageFont

GAP = 4
PAD = 6
LINE = 20


@dataclass(frozen=True)
class Table:
    """Where everything lies, for pictures of (height, width) `size`.

    A line stands above each column and to the left of each row.
    """

    size: tuple[int, int]
    columns: Sequence[str]
    rows: Sequence[str]

    @cached_property
    def font(self) -> Any:
        """Of the names."""
        return ImageFont.load_default(size=max(10, min(16, self.size[1] // 12)))

    def _length(self, texts: Sequence[str]) -> int:
        return max(round(self.font.getlength(text)) + PAD if text else 0 for text in texts)

    @cached_property
    def left(self) -> int:
        """Width of the rows' names."""
        return self._length(self.rows)

    @cached_property
    def cell(self) -> tuple[int, int]:
        """(height, width) of a cell with its gap."""
        height, width = self.size
        return max(height, LINE) + GAP, max(width, self._length(self.columns)) + GAP

    @property
    def whole(self) -> tuple[int, int]:
        """(height, width) of the sheet."""
        height, width = self.cell
        return LINE + len(self.rows) * height, self.left + len(self.columns) * width

    def make(self, pictures: Sequence[Image.Image]) -> Image.Image:
        """Lay pictures out row by row, on white."""
        (height, width), sheet = self.cell, Image.new("RGB", self.whole[::-1], "white")
        draw = ImageDraw.Draw(sheet)
        for index, text in enumerate(self.columns):
            middle = self.left + index * width + (width - GAP) / 2
            draw.text((middle, LINE / 2), text, fill="black", font=self.font, anchor="mm")
        for index, text in enumerate(self.rows):
            middle = LINE + index * height + (height - GAP) / 2
            draw.text((self.left - PAD, middle), text, fill="black", font=self.font, anchor="rm")
        for index, picture in enumerate(pictures):
            row, column = divmod(index, len(self.columns))
            x = self.left + column * width + (width - GAP - picture.width) // 2
            sheet.paste(picture.convert("RGB"), (x, LINE + row * height))
        return sheet
