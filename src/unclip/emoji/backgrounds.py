"""Backgrounds: plain, shaded or textured, and the same picture at every resolution."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.floating[Any]]
Bytes = NDArray[np.uint8]
RGB = tuple[int, int, int]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""

PALETTE: dict[str, RGB] = {
    "white": (255, 255, 255),
    "light gray": (215, 215, 218),
    "gray": (150, 150, 154),
    "black": (28, 28, 32),
    "red": (214, 52, 48),
    "orange": (245, 150, 58),
    "yellow": (250, 220, 84),
    "green": (76, 168, 88),
    "blue": (58, 120, 220),
    "purple": (140, 84, 190),
    "pink": (248, 164, 200),
    "brown": (138, 96, 62),
    "light blue": (176, 216, 244),
    "light green": (190, 228, 180),
    "light yellow": (252, 242, 186),
    "beige": (240, 226, 198),
    "dark blue": (30, 50, 112),
    "dark green": (30, 86, 52),
}
LIGHT = ("light blue", "light green", "light yellow", "beige", "pink", "light gray", "yellow")
# How a caption names each kind; "{}" is the colour.
KINDS = {
    "plain": "{}",
    "gradient": "{} gradient",
    "stripes": "striped {}",
    "dots": "dotted {}",
    "checks": "checkered {}",
    "rough": "textured {}",
}


def paint(background: dict[str, Any], size: int, part: Box | None = None) -> Bytes:
    """(size, size, 3): the background that a scene's specification describes.

    `part` is what is wanted of it: (height, width, 3).
    """
    part = part or (0, 0, size, size)
    first = np.array(background["rgb"], np.float32)
    kind = background["kind"]
    if kind == "plain":
        shape = (part[3] - part[1], part[2] - part[0], 3)
        return np.full(shape, first.astype(np.uint8), np.uint8)
    second = np.array(background["second"], np.float32)
    share = _PATTERNS[kind](size, part, background)
    picture = first + (second - first) * share[..., None]
    return np.round(picture).astype(np.uint8)


def _gradient(size: int, part: Box, how: dict[str, Any]) -> Floats:
    along, _ = _turned(size, part, how["angle"])
    span = abs(math.cos(how["angle"])) + abs(math.sin(how["angle"]))
    return along / span + 0.5


def _stripes(size: int, part: Box, how: dict[str, Any]) -> Floats:
    along, _ = _turned(size, part, how["angle"])
    wave = np.pi * how["scale"]
    return _edge(np.sin(along * wave), wave / size)


def _dots(size: int, part: Box, how: dict[str, Any]) -> Floats:
    turned = _turned(size, part, how["angle"])
    u, v = ((line * how["scale"] + 0.5) % 1 - 0.5 for line in turned)
    return _edge(0.28 - np.hypot(u, v), how["scale"] / size)


def _checks(size: int, part: Box, how: dict[str, Any]) -> Floats:
    wave = np.pi * how["scale"] / 2
    turned = _turned(size, part, how["angle"])
    a, b = (_edge(np.sin(line * wave), wave / size) for line in turned)
    return a + b - 2 * a * b


def _rough(size: int, part: Box, how: dict[str, Any]) -> Floats:
    cells = np.random.default_rng(how["seed"]).integers(0, 256, (16, 16), np.uint8)
    left, top, right, bottom = part
    image = Image.fromarray(cells).resize(
        (right - left, bottom - top),
        Image.Resampling.BICUBIC,
        (left * 16 / size, top * 16 / size, right * 16 / size, bottom * 16 / size),
    )
    return np.asarray(image, np.float32) / 255


_PATTERNS = {
    "gradient": _gradient,
    "stripes": _stripes,
    "dots": _dots,
    "checks": _checks,
    "rough": _rough,
}


def _edge(distance: Floats, per_pixel: float) -> Floats:
    """0 to 1 across an edge at `distance` 0, one pixel wide."""
    share: Floats = np.clip(distance / per_pixel + 0.5, 0, 1)
    return share


def _turned(size: int, part: Box, angle: float) -> tuple[Floats, Floats]:
    """Coordinates of the pixels' middles in -0.5..0.5, turned by `angle` radians."""
    left, top, right, bottom = part
    line = _middles(size)
    x, y = line[None, left:right], line[top:bottom, None]
    cos, sin = math.cos(angle), math.sin(angle)
    return x * cos + y * sin, y * cos - x * sin


@lru_cache(maxsize=8)
def _middles(size: int) -> Floats:
    return (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
