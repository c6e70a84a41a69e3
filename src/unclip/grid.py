"""Sheets of pictures: a grid, with a caption under each where wanted."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

GAP = 4


def make_grid(
    pictures: Sequence[Image.Image],
    columns: int | None = None,
    labels: Sequence[str] | None = None,
    gap: int = GAP,
) -> Image.Image:
    """Lay pictures out row by row on white.

    Args:
        pictures: at least one; the first one's size is every cell's.
        columns: pictures a row; without it, as square as can be.
        labels: a line or two under each.
        gap: pixels between cells.
    """
    width, height = pictures[0].size
    columns = columns or math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    font = ImageFont.load_default(size=max(10, min(16, width // 12)))
    line = int(font.size * 1.25) if hasattr(font, "size") else 12
    lines = _wrap(labels, width, line) if labels else []
    foot = line * max((len(text) for text in lines), default=0)
    sheet = Image.new(
        "RGB", (columns * (width + gap) - gap, rows * (height + foot + gap) - gap), "white"
    )
    draw = ImageDraw.Draw(sheet)
    for index, picture in enumerate(pictures):
        x = index % columns * (width + gap)
        y = index // columns * (height + foot + gap)
        sheet.paste(picture.convert("RGB"), (x, y))
        for number, text in enumerate(lines[index] if lines else []):
            draw.text((x + 2, y + height + number * line), text, fill="black", font=font)
    return sheet


def _wrap(labels: Sequence[str], width: int, line: int) -> list[list[str]]:
    """Break each label so that it fits into `width` pixels, three lines at most."""
    letters = max(6, int(width / (line * 0.42)))
    return [textwrap.wrap(label, letters)[:3] for label in labels]
