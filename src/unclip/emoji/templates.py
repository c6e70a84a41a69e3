"""The vocabulary's drawings in every tint, as templates over whatever background a picture has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .colours import COLOURS, oklab, tint
from .corpus import Corpus, Glyph
from .segments import LEVELS, Floats, Mask

COARSE, GRID = 8, 16  # sides at which drawings are compared, first all of them, then the best
FINE = 32  # and made at this size, to see what of them the background swallows


@dataclass(frozen=True)
class Drawn:
    """Every template over one background."""

    lab: dict[int, Floats]  # side G -> (T, G, G, 3)
    seen: Floats  # (L, T, 4): left, top, right, bottom, in 0..1, of what stands out at each level
    shown: Mask  # (T,): whether it stands out at all


class Templates:
    """Templates (T, 32, 32, 4), premultiplied, ready to be laid over a background."""

    def __init__(self, drawings: NDArray[np.uint8]) -> None:
        rgb: Floats = drawings[..., :3].astype(np.float32)
        clear: Floats = 1 - drawings[..., 3:].astype(np.float32) / 255
        self.fine = _Layer(rgb, clear)
        self.folded = {s: _Layer(_folded(rgb, s), _folded(clear, s)) for s in (COARSE, GRID)}

    def over(self, background: Floats) -> Drawn:
        """All of them over a colour (3,) in 0..255."""
        off = self.fine.over(background) - oklab(background)
        energy = np.einsum("thwc,thwc->thw", off, off)  # (T, 32, 32)
        lab = {side: layer.over(background) for side, layer in self.folded.items()}
        seen = np.stack([_extent(energy > least**2) for least in LEVELS])  # (L, T, 4)
        shown = (energy > LEVELS[0] ** 2).mean((1, 2)) > 0.02
        return Drawn(lab, seen, shown)


class _Layer:
    """Pixels (..., 3) and how much of the background each lets through (..., 1).

    Most let through nothing, or all: only those between have to be converted for each background.
    """

    def __init__(self, rgb: Floats, clear: Floats) -> None:
        flat, through = rgb.reshape(-1, 3), clear.reshape(-1)
        self.bare = np.flatnonzero(through == 1)
        self.rim = np.flatnonzero((through > 0) & (through < 1))
        self.rgb, self.clear = flat[self.rim], through[self.rim, None]
        self.own = oklab(flat).astype(np.float32)  # right where nothing comes through
        self.shape = rgb.shape

    def over(self, background: Floats) -> Floats:
        """OKLab (..., 3) over a colour (3,) in 0..255."""
        lab = self.own.copy()
        lab[self.bare] = oklab(background)
        lab[self.rim] = oklab(self.rgb + self.clear * background.astype(np.float32))
        return lab.reshape(self.shape)


def tints_of(glyph: Glyph) -> list[str | None]:
    """The tints that the composer gives a drawing, its own colours first."""
    if not glyph["tint"]:
        return [None]
    return [None, *(colour for colour in COLOURS if colour != glyph["colour"])]


def aspect(glyph: Glyph) -> float:
    """Width over height of what can be seen."""
    left, top, right, bottom = glyph["extent"]
    return float((right - left) / (bottom - top))


def drawing(corpus: Corpus, glyph: Glyph, colour: str | None) -> NDArray[np.uint8]:
    """(32, 32, 4): a glyph in a tint, premultiplied."""
    pixels = corpus.picture(glyph["id"], FINE, FINE)
    if colour is None:
        return pixels
    how = glyph["tint"]
    return tint(pixels, colour, how["level"], how["hue"], how["all"])


def _folded(values: Floats, side: int) -> Floats:
    """(T, N, N, C) averaged down to (T, side, side, C)."""
    fold = values.shape[1] // side
    return np.asarray(values.reshape(len(values), side, fold, side, fold, -1).mean((2, 4)))


def _extent(mask: Mask) -> Floats:
    """(T, 4): what a mask (T, H, W) spans, in 0..1; all of it where next to nothing is missing."""
    seen = np.stack([_span(np.any(mask, 1)), _span(np.any(mask, 2))], -1).reshape(len(mask), 4)
    whole = np.array([0, 0, 1, 1], np.float32)
    return np.asarray(np.where(np.abs(seen - whole) < 2 / FINE, whole, seen), np.float32)


def _span(line: Mask) -> NDArray[np.floating[Any]]:
    """(T, 2): where along a line (T, N) the first and the last true place lie, in 0..1."""
    first = line.argmax(1)
    last = line.shape[1] - line[:, ::-1].argmax(1)
    ends = np.stack([first, np.maximum(last, first + 1)], 1)
    return np.asarray(ends / line.shape[1], np.float32)
