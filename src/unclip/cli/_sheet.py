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
    """Where everything lies, for pictures of `size`.

    A line stands above each column and to the left of each row.
    """

    size: tuple[int, int]
    columns: Sequence[str]
    rows: Sequence[str]

    @cached_property
    def font(self) -> Any:
        """Of the names."""
        return ImageFont.load_default(size=max(10, min(16, self.size[0] // 12)))

    def _length(self, texts: Sequence[str]) -> int:
        return max(round(self.font.getlength(text)) + PAD if text else 0 for text in texts)

    @cached_property
    def left(self) -> int:
        """Width of the rows' names."""
        return self._length(self.rows)

    @cached_property
    def cell(self) -> tuple[int, int]:
        """Width and height of a cell with its gap."""
        width, height = self.size
        return max(width, self._length(self.columns)) + GAP, max(height, LINE) + GAP

    @property
    def whole(self) -> tuple[int, int]:
        """Width and height of the sheet."""
        width, height = self.cell
        return self.left + len(self.columns) * width, LINE + len(self.rows) * height

    def make(self, pictures: Sequence[Image.Image]) -> Image.Image:
        """Lay pictures out row by row, on white."""
        (width, height), sheet = self.cell, Image.new("RGB", self.whole, "white")
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
