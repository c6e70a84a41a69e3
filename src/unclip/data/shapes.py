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
INK = 60.0  # of 255, how far from white what is drawn is; less is a shadow or noise


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


def recognised(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> tuple[str, str, float]:
    """The colour and the shape that a picture (H, W, 3) shows, and how well it fits, 0 to 1.

    The colour is the nearest to the inkiest half of the ink. Each shape is drawn anew with the
    area and the centre of mass that the picture's has; the fit is the overlap of the two, shared by
    what either covers (intersection over union, of antialiased masks). An empty picture fits 0.
    """
    ink = 255 - image.astype(np.float64)
    strength = np.sqrt((ink**2).sum(-1))
    if strength.max() < INK:
        return "", "", 0.0
    core = ink[strength >= np.median(strength[strength >= INK])].mean(0)
    hues = {name: 255 - np.array(rgb, dtype=float) for name, rgb in COLOURS.items()}
    colour = min(hues, key=lambda name: float(((hues[name] - core) ** 2).sum()))
    mask = np.clip(ink @ core / (core @ core), 0, 1)  # (H, W) share of each pixel that is covered
    fits = {shape: _overlap(mask, shape) for shape in SHAPES}
    shape = max(fits, key=lambda name: fits[name])
    return colour, shape, fits[shape]


def _overlap(mask: np.ndarray[tuple[int, ...], np.dtype[np.float64]], shape: str) -> float:
    """Intersection over union of a mask (H, W) with a shape of its area and centre of mass."""
    height, width = mask.shape
    areas = {"circle": np.pi, "square": 4.0, "triangle": 2.0}  # of radius 1
    radius = float(np.sqrt(mask.sum() / areas[shape]))
    y = float((mask.sum(1) @ (np.arange(height) + 0.5)) / mask.sum())
    x = float((mask.sum(0) @ (np.arange(width) + 0.5)) / mask.sum())
    y -= radius / 3 if shape == "triangle" else 0  # its centre of mass lies lower
    centre, share = (x / width, y / height), radius / min(height, width)
    drawn = 1 - _draw(shape, (0, 0, 0), centre, share, (height, width))[..., 0] / 255
    return float(np.minimum(mask, drawn).sum() / np.maximum(mask, drawn).sum())


SOURCE = Shapes
