"""From a scene's specification to its picture: a pure function of the two and of the corpus."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backgrounds import Box, paint
from .colours import tint
from .corpus import Corpus

Bytes = NDArray[np.uint8]


def render(spec: dict[str, Any], size: int, corpus: Corpus, part: Box | None = None) -> Bytes:
    """(size, size, 3) sRGB: the same scene at any size.

    Args:
        spec: what it shows.
        size: of the whole picture.
        corpus: of its glyphs; where it has their drawings, large pictures are as sharp as small.
        part: render this alone, (height, width, 3), in about its share of the time.
    """
    part = part or (0, 0, size, size)
    canvas = paint(spec["background"], size, part)
    for thing in spec["objects"]:
        _put(canvas, thing, size, part, corpus)
    return canvas


def _put(canvas: Bytes, thing: dict[str, Any], size: int, part: Box, corpus: Corpus) -> None:
    x, y, width, height = thing["box"]
    left, top = round(x * size), round(y * size)
    right = max(round((x + width) * size), left + 1)
    bottom = max(round((y + height) * size), top + 1)
    seen = max(left, part[0]), max(top, part[1]), min(right, part[2]), min(bottom, part[3])
    if seen[0] >= seen[2] or seen[1] >= seen[3]:
        return
    own = seen[0] - left, seen[1] - top, seen[2] - left, seen[3] - top
    glyph = corpus.picture(thing["id"], right - left, bottom - top, own)
    if thing["tint"]:
        how = corpus[thing["id"]]["tint"]
        glyph = tint(glyph, thing["tint"], how["level"], how["hue"], how["all"])
    rows = slice(seen[1] - part[1], seen[3] - part[1])
    under = canvas[rows, seen[0] - part[0] : seen[2] - part[0]]  # (h, w, 3)
    keep = (255 - glyph[..., 3:]).astype(np.uint16)
    under[...] = np.minimum((under * keep + 127) // 255 + glyph[..., :3], 255)
