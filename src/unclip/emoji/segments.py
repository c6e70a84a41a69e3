"""What stands out from a picture's background, and where it can be cut apart: no learning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .backgrounds import PALETTE
from .colours import oklab

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Bounds = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the working size

SIDE = 128
LEVELS = (0.05, 0.12, 0.2)
"""OKLab distances from which a pixel stands out from the background: a little, more, much."""

_MARGIN = 2  # pixels at the edge that are not looked at: generators leave rims there
_CUTS = 2  # gaps tried in each direction
_REACHES = (3, 1, 0)  # pixels across which pieces belong together


@dataclass(frozen=True, eq=False)
class Region:
    """Some of the pixels that stand out: their mask (S, S) and what it spans."""

    mask: Mask
    bounds: Bounds

    @classmethod
    def of(cls, mask: Mask) -> Self | None:
        """The region of a mask, None for an empty one."""
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            return None
        ends = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
        return cls(mask, ends)

    @property
    def key(self) -> bytes:
        """The same for the same pixels."""
        return np.packbits(self.mask).tobytes()

    @property
    def longest(self) -> int:
        """The longer side."""
        left, top, right, bottom = self.bounds
        return max(right - left, bottom - top)

    def splits(self) -> Iterator[list[Region]]:
        """Ways to take it apart: into pieces that do not touch, then with one straight line."""
        counts = {1}
        for reach in _REACHES:
            parts = pieces(self.mask, reach)
            if len(parts) not in counts:
                counts.add(len(parts))
                yield parts
        left, top, right, bottom = self.bounds
        part = self.mask[top:bottom, left:right]
        for axis, start in ((0, left), (1, top)):
            for at in _gaps(part.sum(axis)):
                before = np.arange(SIDE) < start + at
                half = self.mask & (before if axis == 0 else before[:, None])
                both = (Region.of(half), Region.of(self.mask & ~half))
                yield [part for part in both if part]


@dataclass(frozen=True)
class Segmented:
    """A picture at the working size, and what of it is no background."""

    rgb: Floats  # (S, S, 3) in 0..255
    background: Floats  # (3,), its main colour
    word: str  # that colour's word
    energy: Floats  # (S, S), squared OKLab distance from the background
    mask: Mask  # (S, S)

    def power(self, region: Region) -> float:
        """The energy of a region."""
        return float(self.energy[region.mask].sum())

    def solid(self, region: Region) -> int:
        """How many pixels of a region stand out well and lie two pixels or more from its rim."""
        core = region.mask & (self.energy > LEVELS[1] ** 2)
        return int((~_grown(~core, 2)).sum())

    def alone(self, region: Region) -> Floats:
        """(S, S, 3): the picture with background wherever another region stands out."""
        return np.where((self.mask & ~region.mask)[..., None], self.background, self.rgb)


def segment(picture: NDArray[np.uint8]) -> Segmented:
    """Take a picture (H, W, 3) apart into background and what stands out from it."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    if image.size != (SIDE, SIDE):
        image = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    rgb = np.asarray(image).astype(np.float32)
    lab = oklab(rgb).astype(np.float32)
    background = _main_colour(rgb, lab)
    shade = _shaded(lab, oklab(background))
    energy = ((lab - shade) ** 2).sum(-1)
    inside = np.zeros((SIDE, SIDE), bool)
    inside[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = True
    energy *= inside
    return Segmented(rgb, background, background_word(background), energy, energy > LEVELS[0] ** 2)


def background_word(rgb: Floats) -> str:
    """The word of `PALETTE` that comes nearest to a colour (3,)."""
    words = list(PALETTE)
    off = oklab(np.array(list(PALETTE.values()))) - oklab(rgb)
    return words[int((off**2).sum(-1).argmin())]


def _main_colour(rgb: Floats, lab: Floats) -> Floats:
    """The colour that most pixels share, those near the edge counting most."""
    line = np.minimum(np.arange(SIDE), np.arange(SIDE)[::-1])
    depth = np.minimum(line[:, None], line)
    weight = np.where(depth < 10, 4.0, 1.0) * (depth >= _MARGIN)
    cell = np.floor(rgb / 16 + 0.5).astype(np.int64) @ np.array([400, 20, 1])
    votes = np.bincount(cell.ravel(), weight.ravel())
    middle = rgb[cell == votes.argmax()].mean(0)
    near = ((lab - oklab(middle)) ** 2).sum(-1) < 0.05**2
    return np.asarray(np.median(rgb[near & (depth >= _MARGIN)], 0), np.float32)


def _shaded(lab: Floats, background: Floats) -> Floats:
    """(S, S, 3) or (3,): the background with the slight slope that fits the pixels near to it."""
    near = ((lab - background) ** 2).sum(-1) < 0.08**2
    if near.sum() < 0.1 * near.size:
        return np.asarray(background, np.float32)
    line = np.linspace(-1, 1, SIDE, dtype=np.float32)
    x, y = np.meshgrid(line, line)
    plane = np.stack([np.ones_like(x), x, y], -1)  # (S, S, 3)
    fit = np.linalg.lstsq(plane[near], lab[near], rcond=None)[0]
    return np.asarray(plane @ fit, np.float32)


def _gaps(filled: NDArray[np.integer]) -> list[int]:
    """Where to cut along a line: the middles of the widest empty runs, and the thinnest place."""
    empty = sorted(_runs(filled[None] == 0)[0], key=lambda run: run[0] - run[1])  # longest first
    found = [(start + end) // 2 for start, end, _ in empty[:_CUTS]]
    fifth = len(filled) // 5
    if fifth > 1:
        thinnest = fifth + int(filled[fifth:-fifth].argmin())
        if filled[thinnest] and filled[thinnest] < 0.5 * filled.max():
            found.append(thinnest)
    return found


def _runs(mask: Mask) -> list[list[tuple[int, int, int]]]:
    """For each row of (H, W) the (start, end, row) of each run of true values."""
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = mask
    edges = np.diff(padded)
    row, starts = (edges == 1).nonzero()
    ends = (edges == -1).nonzero()[1]
    found: list[list[tuple[int, int, int]]] = [[] for _ in range(height)]
    for number, start, end in zip(row.tolist(), starts.tolist(), ends.tolist(), strict=True):
        found[number].append((start, end, number))
    return found


def pieces(mask: Mask, reach: int) -> list[Region]:
    """The connected parts of a mask, where pixels up to 2 · `reach` apart count as connected."""
    grown = _grown(mask, reach)
    rows = _runs(grown)
    parent: dict[tuple[int, int, int], tuple[int, int, int]] = {}

    def root(run: tuple[int, int, int]) -> tuple[int, int, int]:
        while parent[run] != run:
            parent[run] = run = parent[parent[run]]
        return run

    above: list[tuple[int, int, int]] = []
    for row in rows:
        for run in row:
            parent[run] = run
            for other in above:
                if other[0] <= run[1] and run[0] <= other[1]:  # corners touch too
                    parent[root(other)] = root(run)
        above = row
    parts: dict[tuple[int, int, int], Mask] = {}
    for run in parent:
        part = parts.setdefault(root(run), np.zeros(mask.shape, bool))
        part[run[2], run[0] : run[1]] = True
    found = (Region.of(part & mask) for part in parts.values())
    return [region for region in found if region]


def _grown(mask: Mask, reach: int) -> Mask:
    for _ in range(reach):
        wider = np.pad(mask, 1)
        mask = mask | wider[:-2, 1:-1] | wider[2:, 1:-1] | wider[1:-1, :-2] | wider[1:-1, 2:]
    return mask
