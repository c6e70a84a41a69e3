"""The second judge: no learning. The scene is explained by the vocabulary's own drawings.

A region that stands out from the background is compared with every drawing in every tint, laid over
the same background; where none explains it, it is cut in two along a gap. Of all explanations that
one is taken which leaves the least of the picture unexplained.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from .colours import oklab
from .corpus import Corpus
from .judge import UNKNOWN, Detection, Detections, Pictures
from .segments import LEVELS, SIDE, Bounds, Floats, Mask, Region, Segmented, pieces, segment
from .templates import COARSE, GRID, Drawn, Templates, aspect, drawing, tints_of

Numbers = NDArray[np.integer[Any]]

_GOOD = 0.9  # share explained that needs no second thought
_GAIN = 0.1  # share more that a cut has to explain
_KNOWN = 0.55  # share explained below which a thing is called unknown
_APART = 0.6  # what stays unexplained, as a share of what the next best noun leaves, at most
_LEAST = 0.11  # side of the smallest thing; what is smaller is a speck
_SOLID = 36  # pixels of an unknown thing, its rim of two taken away, that make it no smudge
_PATIENCE = 40  # regions matched in one picture
_BEST = 16  # drawings whose fit is refined, two of a noun at most
_STRETCH = 1.3  # how much wider or higher than drawn a thing may be
_RULES = repr(
    (3, LEVELS, COARSE, GRID, _GOOD, _GAIN, _KNOWN, _APART, _LEAST, _SOLID, _PATIENCE, _BEST)
).encode()  # part of the judge's hash; the first number counts its editions


@dataclass(frozen=True)
class Fit:
    """The best explanation of a region by one drawing."""

    template: int
    box: tuple[float, float, float, float]  # left, top, right, bottom in pixels
    left: float  # energy that stays unexplained
    other: float  # and by the best drawing of any other noun
    power: float  # energy of the region
    solid: bool = True  # whether it is more than a smudge or a rim

    @property
    def explained(self) -> float:
        """The share of the region that the drawing explains, at most 1."""
        return 1 - self.left / max(self.power, 1e-6)

    @property
    def known(self) -> bool:
        """Whether it explains enough, and far more than any other noun would."""
        return self.explained >= _KNOWN and self.left <= _APART * self.other

    @property
    def cost(self) -> float:
        """The energy that stays: all of it where the thing is unknown."""
        return self.left if self.known else self.power


@dataclass
class _Scene:
    """What is known of one picture while it is explained."""

    parts: Segmented
    drawn: Drawn
    tried: dict[bytes, Fit] = field(default_factory=dict)


class Matcher:
    """Drawings of a corpus as a judge.

    Args:
        corpus: narrowed to the nouns to know.
        style: the style whose drawings to compare with.
    """

    name = "matcher"

    def __init__(self, corpus: Corpus, style: str) -> None:
        glyphs = [glyph for glyph in corpus.glyphs if glyph["style"] == style]
        self.nouns = tuple(dict.fromkeys(glyph["noun"] for glyph in glyphs))
        self.which = [(glyph["noun"], tint) for glyph in glyphs for tint in tints_of(glyph)]
        drawn = [drawing(corpus, glyph, tint) for glyph in glyphs for tint in tints_of(glyph)]
        drawings = np.stack(drawn)  # (T, 32, 32, 4) premultiplied
        self.templates = Templates(drawings)
        self.aspect = np.array([aspect(g) for g in glyphs for _ in tints_of(g)], np.float32)
        order = {noun: number for number, noun in enumerate(self.nouns)}
        self.noun = np.array([order[noun] for noun, _ in self.which])  # (T,)
        self.hash = hashlib.sha256(drawings.tobytes() + _RULES).hexdigest()[:16]
        self._over: tuple[bytes, Drawn] | None = None

    def look(self, pictures: Pictures) -> list[Detections]:
        """What each of (B, H, W, 3) pictures shows."""
        return [self._look(picture) for picture in pictures]

    def _look(self, picture: NDArray[np.uint8]) -> Detections:
        parts = segment(picture)
        scene = _Scene(parts, self._laid_over(parts.background))
        whole = Region.of(parts.mask)
        fits = self._explain(scene, whole, 5)[1] if whole else []
        things = [self._thing(fit) for fit in fits]
        return Detections(tuple(thing for thing in things if thing), parts.word)

    def _thing(self, fit: Fit) -> Detection | None:
        left, top, right, bottom = (value / SIDE for value in fit.box)
        box = (left, top, right - left, bottom - top)
        if max(box[2:]) < _LEAST or not (fit.known or fit.solid):
            return None
        noun, colour = self.which[fit.template]
        sure = max(fit.explained, 0.0)
        return Detection(noun if fit.known else UNKNOWN, colour, box, sure)

    def _explain(self, scene: _Scene, region: Region, depth: int) -> tuple[float, list[Fit]]:
        """(energy left, the fits) of the best explanation of a tight region."""
        whole = self._fit(scene, region)
        best = (whole.cost, [whole])
        if whole.known and depth:
            best = self._with_rest(scene, region, whole, depth)
        if (whole.known and whole.explained >= _GOOD) or depth == 0:
            return best
        limit = best[0] - _GAIN * whole.power
        for parts in self._ranked(scene, region):
            explained = [self._explain(scene, part, depth - 1) for part in parts]
            left = sum(more for more, _ in explained)
            if left < limit:
                best, limit = (left, [fit for _, fits in explained for fit in fits]), left
            if left < (1 - _GOOD) * whole.power or len(scene.tried) >= _PATIENCE:
                break
        return best

    def _ranked(self, scene: _Scene, region: Region) -> list[list[Region]]:
        """The ways to take a region apart, first those whose parts are known as they are."""

        def unexplained(parts: list[Region]) -> float:
            return sum(self._fit(scene, part).cost for part in parts)

        return sorted(region.splits(), key=unexplained)

    def _with_rest(
        self, scene: _Scene, region: Region, whole: Fit, depth: int
    ) -> tuple[float, list[Fit]]:
        """A known thing, and what the rest of its region, outside its box, may be."""
        left, fits = whole.left, [whole]
        for piece in pieces(region.mask & ~_inside(whole.box, 2), 1):
            if piece.longest >= _LEAST * SIDE and len(scene.tried) < _PATIENCE:
                more, found = self._explain(scene, piece, depth - 1)
                left, fits = left + more - scene.parts.power(piece), fits + found
        return left, fits

    def _fit(self, scene: _Scene, region: Region) -> Fit:
        key = region.key
        if key not in scene.tried:
            scene.tried[key] = self._matched(scene, region)
        return scene.tried[key]

    def _matched(self, scene: _Scene, region: Region) -> Fit:
        """The best of the fits to what stands out a little, more, and much.

        A generator leaves faint smudges around a thing, and these do not count at a higher level.
        """
        power = scene.parts.power(region)
        left, top, right, bottom = region.bounds
        best = Fit(0, (left, top, right, bottom), power, power, power)
        if region.longest < _LEAST * SIDE:
            return best
        rgb = scene.parts.alone(region)
        for level, least in enumerate(LEVELS):
            strong = Region.of(region.mask & (scene.parts.energy > least**2))
            if strong is None or (level and strong.bounds == region.bounds):
                continue
            fit = self._aligned(scene, region, rgb, strong.bounds, level)
            best = fit if fit and fit.left < best.left else best
            if best.known and best.explained >= _GOOD:
                break
        return replace(best, solid=scene.parts.solid(region) >= _SOLID)

    def _aligned(
        self, scene: _Scene, region: Region, rgb: Floats, bounds: Bounds, level: int
    ) -> Fit | None:
        """Compare what lies in some bounds with every drawing, then the best ones with play."""
        left, top, right, bottom = bounds
        power = scene.parts.power(region)
        seen = scene.drawn.seen[level]
        wide = (right - left) / (seen[:, 2] - seen[:, 0])
        high = (bottom - top) / (seen[:, 3] - seen[:, 1])
        x, y = left - wide * seen[:, 0], top - high * seen[:, 1]
        boxes = np.stack([x, y, x + wide, y + high], 1).astype(np.float32)  # (T, 4)
        off = np.abs(np.log(wide / high / self.aspect))
        able = np.flatnonzero((off < np.log(_STRETCH)) & scene.drawn.shown & _fits_in(boxes))
        if not len(able):
            return None
        boxes = boxes[able]
        first = self._promising(able, self._residual(scene, rgb, boxes, able, COARSE))
        able, boxes = able[first], boxes[first]
        for play in (0.04 * max(right - left, bottom - top), 1.5):
            boxes, rest = self._played(scene, rgb, boxes, able, play)
        best = int(rest.argmin())
        others = rest[self.noun[able] != self.noun[able[best]]].tolist()
        other = min([*others, _as_blob(rgb, bounds, scene.parts.background)])
        found, least = self._tinted(scene, rgb, boxes[best], int(able[best]))
        corners = boxes[best].tolist()
        box = (corners[0], corners[1], corners[2], corners[3])
        outside = float(scene.parts.energy[region.mask & ~_inside(box, 1)].sum())
        return Fit(found, box, least + outside, other + outside, power)

    def _played(
        self, scene: _Scene, rgb: Floats, boxes: Floats, templates: Numbers, play: float
    ) -> tuple[Floats, Floats]:
        """The best of some boxes near each box, and the energy that stays there."""
        near = _with_play(boxes, play)  # (N, P, 4)
        again = np.repeat(templates, near.shape[1])
        rest = self._residual(scene, rgb, near.reshape(-1, 4), again, GRID)
        rest = rest.reshape(len(boxes), -1)
        at, rows = rest.argmin(1), np.arange(len(boxes))
        return near[rows, at], rest[rows, at]

    def _tinted(self, scene: _Scene, rgb: Floats, box: Floats, template: int) -> tuple[int, float]:
        """In one box, the best of all tints of a template's noun, and the energy that stays."""
        tints = np.flatnonzero(self.noun == self.noun[template])
        boxes = np.repeat(box[None], len(tints), 0)
        rest = self._residual(scene, rgb, boxes, tints, GRID)
        return int(tints[rest.argmin()]), float(rest.min())

    def _promising(self, able: Numbers, rest: Floats) -> Numbers:
        """Which of the compared drawings leave least, two of a noun at most."""
        taken: Counter[int] = Counter()
        first: list[int] = []
        for place in np.argsort(rest).tolist():
            noun = int(self.noun[able[place]])
            taken[noun] += 1
            if taken[noun] <= 2:
                first.append(place)
            if len(first) == _BEST:
                break
        return np.array(first)

    def _residual(
        self, scene: _Scene, rgb: Floats, boxes: Floats, templates: Numbers, side: int
    ) -> Floats:
        """(N,): the energy that stays when template n is laid over the picture in box n."""
        unique, back = np.unique(np.round(boxes * 4), axis=0, return_inverse=True)
        crops = oklab(_crops(rgb, unique / 4, side))
        off = crops[back.reshape(-1)] - scene.drawn.lab[side][templates]  # (N, G, G, 3)
        return np.asarray(np.einsum("nhwc,nhwc->n", off, off) / side**2 * _area(boxes))

    def _laid_over(self, background: Floats) -> Drawn:
        """Every drawing over a background. The last is kept: many pictures share a background."""
        key = np.round(background).tobytes()
        if self._over is None or self._over[0] != key:
            self._over = (key, self.templates.over(np.round(background)))
        return self._over[1]


def _with_play(boxes: Floats, play: float) -> Floats:
    """(N, P, 4): each box shifted and stretched by up to `play` pixels."""
    steps = (-play, 0.0, play)
    shifts = [(x, y, x, y) for x in steps for y in steps]
    sizes = [(-x, -y, x, y) for x in steps for y in steps if x or y]
    offsets = np.array(shifts + sizes, np.float32)  # (P, 4)
    return np.asarray(boxes[:, None] + offsets, np.float32)


def _inside(box: tuple[float, float, float, float], play: int) -> Mask:
    """(S, S): the pixels in a box that is `play` pixels wider on each side."""
    left, top, right, bottom = box
    line = np.arange(SIDE) + 0.5
    across = (line > left - play) & (line < right + play)
    down = (line > top - play) & (line < bottom + play)
    return down[:, None] & across


def _fits_in(boxes: Floats) -> Mask:
    """(N,): whether a box lies in the picture, or hardly leaves it."""
    play = 0.06 * SIDE
    return np.asarray((boxes[:, :2].min(1) > -play) & (boxes[:, 2:].max(1) < SIDE + play))


def _area(boxes: Floats) -> Floats:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _as_blob(rgb: Floats, bounds: Bounds, background: Floats) -> float:
    """The energy that stays when an ellipse of one colour is all that a drawing has to beat."""
    box = np.array([bounds], np.float32)
    crop = oklab(_crops(rgb, box, GRID))[0]  # (G, G, 3)
    line = (np.arange(GRID) + 0.5) / GRID * 2 - 1
    inside = (line[:, None] ** 2 + line**2 < 1)[..., None]
    middle = (crop * inside).sum((0, 1)) / inside.sum()
    off = crop - np.where(inside, middle, oklab(background))
    return float((off**2).sum(-1).mean() * _area(box)[0])


def _crops(rgb: Floats, boxes: Floats, side: int) -> Floats:
    """(N, G, G, 3): what lies in each box (left, top, right, bottom in pixels), antialiased."""
    picture = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    wide = torch.from_numpy(boxes.astype(np.float32))
    fine = 2 * side
    reach = float((wide[:, 2:] - wide[:, :2]).amax()) / fine
    while reach >= 2 and picture.shape[-1] > fine:  # pixels between two samples
        picture, reach = F.avg_pool2d(picture, 2), reach / 2
    line = (torch.arange(fine) + 0.5) / fine
    x = (wide[:, :1] + (wide[:, 2:3] - wide[:, :1]) * line) / SIDE * 2 - 1  # (N, fine)
    y = (wide[:, 1:2] + (wide[:, 3:] - wide[:, 1:2]) * line) / SIDE * 2 - 1
    grid = torch.stack([x[:, None].expand(-1, fine, -1), y[:, :, None].expand(-1, -1, fine)], -1)
    strip = grid.reshape(1, -1, fine, 2)  # one tall picture of all the crops
    found = F.grid_sample(picture, strip, padding_mode="border", align_corners=False)[0]
    small = F.avg_pool2d(found, 2)  # (3, N·G, G)
    return np.asarray(small.view(3, len(boxes), side, side).permute(1, 2, 3, 0))
