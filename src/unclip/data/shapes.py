"""Coloured shapes, generated on the fly: data for tests and first steps, without a download."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw
from pydantic import Field

from .. import config
from ..vocabulary import Vocabulary
from .source import IndexedSource, Sample

COLOURS = {
    "red": (220, 50, 47),
    "green": (60, 160, 60),
    "blue": (40, 90, 210),
    "yellow": (240, 200, 40),
    "purple": (130, 70, 180),
    "black": (30, 30, 30),
}
SHAPES = ("circle", "square", "triangle")
SMOOTH = 4  # supersampling factor


class ShapesConfig(config.Config):
    """Settings of the generated shapes."""

    seed: int = Field(default=0, ge=0)


class Shapes(IndexedSource):
    """ "a red circle": one shape of one colour on white, of random size and place."""

    Config = ShapesConfig

    def __init__(self, config: ShapesConfig, size: tuple[int, int]) -> None:
        super().__init__()
        self.config = config
        self.size = size

    def sample(self, position: int) -> Sample:
        """Picture number `position` (*size, 3), its caption and its description."""
        rng = self._rng(position)
        caption, colour, shape = _words(rng)
        radius = rng.uniform(0.25, 0.4)
        x, y = rng.uniform(radius, 1 - radius, size=2)
        image = _draw(shape, COLOURS[colour], (x, y), radius, self.size)
        return {"image": image, "caption": caption, "spec": {"colour": colour, "shape": shape}}

    def captions(self, count: int) -> Iterator[str]:
        """The captions of the first `count` pictures."""
        return (_words(self._rng(position))[0] for position in range(count))

    def vocabulary(self) -> Vocabulary:
        """The words of all possible captions."""
        return Vocabulary.of(f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES)

    def _rng(self, position: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64((self.config.seed, position)))


def _words(rng: np.random.Generator) -> tuple[str, str, str]:
    """Caption, colour, shape."""
    colour = list(COLOURS)[rng.integers(len(COLOURS))]
    shape = SHAPES[rng.integers(len(SHAPES))]
    return f"a {colour} {shape}", colour, shape


def _draw(
    shape: str,
    colour: tuple[int, int, int],
    centre: tuple[float, float],
    radius: float,
    size: tuple[int, int],
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """(*size, 3): one shape on white; centre in 0..1, radius a share of the shorter side."""
    height, width = (length * SMOOTH for length in size)
    x, y, r = centre[0] * width, centre[1] * height, radius * min(height, width)
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    if shape == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif shape == "square":
        draw.rectangle((x - r, y - r, x + r, y + r), fill=colour)
    else:
        draw.polygon([(x, y - r), (x + r, y + r), (x - r, y + r)], fill=colour)
    return np.asarray(canvas.reduce(SMOOTH), dtype=np.uint8)


SOURCE = Shapes
