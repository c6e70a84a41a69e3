"""A contact sheet of samples, to look at data before training on them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from itertools import islice

from PIL import Image, ImageDraw, ImageFont

from ..media import scale_to
from .source import Source

_CELL = 144  # pixels for one picture on the sheet
_GAP = 8
_LINES = 4
_TEXT = 12  # pixels
_WIDTH, _HEIGHT = _CELL + _GAP, _CELL + _GAP + _LINES * (_TEXT + 3)


def samples_drawn(source: Source, rows: int, columns: int) -> int:
    """How many samples a sheet shows: of a few pictures each once."""
    return min(rows * columns, source.count or rows * columns)


def sheet_size(rows: int, columns: int) -> tuple[int, int]:
    """(height, width) of a contact sheet."""
    return rows * _HEIGHT + _GAP, columns * _WIDTH + _GAP


def contact_sheet(
    source: Source,
    rows: int = 6,
    columns: int = 8,
    seed: int = 0,
    on_skipped: Callable[[str], None] = lambda line: None,
) -> Image.Image:
    """`rows` x `columns` samples with their captions underneath; another `seed`, other samples.

    Samples without a picture, such as embeddings, are shown by their captions alone. `on_skipped`
    is told what is wrong with samples that cannot be made, for which others stand in; where all
    pictures are shown, nothing does.

    Raises:
        DataError: many samples in a row cannot be made.
    """
    drawn = samples_drawn(source, rows, columns)
    rows, columns = -(-drawn // columns), min(columns, drawn)
    font = ImageFont.load_default(_TEXT)
    sheet = Image.new("RGB", sheet_size(rows, columns)[::-1], "white")
    draw = ImageDraw.Draw(sheet)
    source.load_state_dict({"position": seed * drawn})
    for number, sample in enumerate(islice(source, drawn)):
        x, y = _GAP + number % columns * _WIDTH, _GAP + number // columns * _HEIGHT
        for line in sample.get("skipped", ()):
            on_skipped(line)
        if sample.get("skipped") and drawn == source.count:
            sample = {"caption": "cannot be read"}
        if "image" in sample:
            sheet.paste(scale_to(Image.fromarray(sample["image"]), _CELL), (x, y))
        caption = sample.get("caption", "")
        words = "\n".join(textwrap.wrap(caption, 24, max_lines=_LINES, placeholder="…"))
        draw.multiline_text((x, y + _CELL + 2), words, "black", font, spacing=2)
    return sheet
