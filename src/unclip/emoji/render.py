"""From a scene's specification to its picture: a pure function of the two and of the corpus."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backgrounds import paint
from .colours import tint
from .corpus import Corpus

Bytes = NDArray[np.uint8]


def render(spec: dict[str, Any], size: int, corpus: Corpus) -> Bytes:
    """(size, size, 3) sRGB: the same scene at any size."""
    canvas = paint(spec["background"], size)
    for thing in spec["objects"]:
        _put(canvas, thing, corpus)
    return canvas


def _put(canvas: Bytes, thing: dict[str, Any], corpus: Corpus) -> None:
    size = len(canvas)
    x, y, width, height = thing["box"]
    left, top = round(x * size), round(y * size)
    right = max(round((x + width) * size), left + 1)
    bottom = max(round((y + height) * size), top + 1)
    glyph = corpus.picture(thing["id"], right - left, bottom - top)
    if thing["tint"]:
        how = corpus[thing["id"]]["tint"]
        glyph = tint(glyph, thing["tint"], how["level"], how["hue"], how["all"])
    under = canvas[top:bottom, left:right]  # (h, w, 3)
    keep = (255 - glyph[..., 3:]).astype(np.uint16)
    under[...] = np.minimum((under * keep + 127) // 255 + glyph[..., :3], 255)
