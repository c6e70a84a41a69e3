"""A table of pictures with a name to each row and column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

GAP = 4
PAD = 6
LINE = 20


def table_size(
    size: tuple[int, int], columns: Sequence[str], rows: Sequence[str]
) -> tuple[int, int]:
    """Width and height of `make_table`'s sheet of pictures of `size`."""
    return _measure(size, columns, rows)[0]


_Measures = tuple[tuple[int, int], tuple[int, int], int, Any]


def _measure(size: tuple[int, int], columns: Sequence[str], rows: Sequence[str]) -> _Measures:
    """The sheet, a cell, the margin at the left, and the font."""
    font = ImageFont.load_default(size=max(10, min(16, size[0] // 12)))

    def length(text: str) -> int:
        return round(font.getlength(text)) + PAD if text else 0

    left = max(length(text) for text in rows)
    width = max(size[0], *(length(text) for text in columns))
    height = max(size[1], LINE)
    sheet = (left + len(columns) * (width + GAP), LINE + len(rows) * (height + GAP))
    return sheet, (width, height), left, font


def make_table(
    pictures: Sequence[Image.Image], columns: Sequence[str], rows: Sequence[str]
) -> Image.Image:
    """Lay pictures of one size out row by row, on white.

    Args:
        pictures: len(rows) times len(columns), row by row.
        columns: a line above each column.
        rows: a line to the left of each row.
    """
    size, (width, height), left, font = _measure(pictures[0].size, columns, rows)
    line, sheet = LINE, Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for index, text in enumerate(columns):
        middle = left + index * (width + GAP) + width / 2
        draw.text((middle, line / 2), text, fill="black", font=font, anchor="mm")
    for index, text in enumerate(rows):
        middle = line + index * (height + GAP) + height / 2
        draw.text((left - PAD, middle), text, fill="black", font=font, anchor="rm")
    for index, picture in enumerate(pictures):
        row, column = divmod(index, len(columns))
        x = left + column * (width + GAP) + (width - picture.width) // 2
        sheet.paste(picture.convert("RGB"), (x, line + row * (height + GAP)))
    return sheet
