"""A contact sheet of samples, to look at data before training on them."""

from __future__ import annotations

from PIL import Image

from ..grid import make_grid
from .source import Source

_CELL = 144  # pixels for one picture on the sheet


def contact_sheet(source: Source, rows: int = 6, columns: int = 8, seed: int = 0) -> Image.Image:
    """`rows` x `columns` samples with their captions underneath; another `seed`, other samples.

    Raises:
        DataError: a sample cannot be read.
    """
    count = rows * columns
    samples = [source.sample(seed * count + number) for number in range(count)]
    pictures = [Image.fromarray(sample["image"]) for sample in samples]
    return make_grid(
        [_sized(picture) for picture in pictures],
        columns,
        [sample["caption"] for sample in samples],
        gap=8,
    )


def _sized(picture: Image.Image) -> Image.Image:
    method = Image.Resampling.BOX if picture.width > _CELL else Image.Resampling.NEAREST
    return picture.resize((_CELL, _CELL), method)
