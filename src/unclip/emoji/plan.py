"""Planning scenes: what is shown, where, how large and in which colour.

Boxes lie on a grid of 1/64, so that a scene's edges fall on whole pixels at 64, 128, 256, ...
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from pydantic import Field, model_validator

from ..config import Config, Share
from ..errors import DataError
from .backgrounds import LIGHT, PALETTE
from .colours import COLOURS, RGB, distance
from .corpus import Corpus, Glyph
from .splits import Splits, splits

T = TypeVar("T")
Spec = dict[str, Any]
Box = tuple[float, float, float, float]  # x, y, width, height in 0..1

GRID = 64
RELATIONS = ("to the left of", "to the right of", "above", "below", "next to")
Split = Literal["train", "heldout", "heldout-pairs", "heldout-colours", "heldout-counts", "any"]
_PATIENCE = 1000
_HELDOUT = ("heldout-pairs", "heldout-colours", "heldout-counts")


Weight = Annotated[float, Field(ge=0)]


class Mix(Config):
    """How often each kind of scene comes (relative weights), and how scenes vary (0..1)."""

    single: Weight = 0.6
    count: Weight = 0.14
    pair: Weight = 0.18
    group: Weight = 0.08
    tinted: Share = 0.25
    small: Share = 0.12
    background_said: Share = 0.3
    textured: Share = 0.12
    first_style: Share = 0.5

    @model_validator(mode="after")
    def _shows_something(self) -> Self:
        if not self.single + self.count + self.pair + self.group:
            raise ValueError("single, count, pair and group cannot all be 0")
        return self


class Planner:
    """Draws scene specifications from a corpus.

    A specification is plain data: `kind`, `style`, `background`, `objects` (each with the glyph's
    `id`, its `noun`, the `colour` it may be called, the `tint` applied, a `size` word and its
    `box`) and, for a pair, the `relation` of the first object to the second.

    Raises:
        DataError: the corpus has nothing to show for the split.
    """

    def __init__(self, corpus: Corpus, mix: Mix, split: Split, styles: Sequence[str]) -> None:
        self.mix = mix
        self.split = split
        self.styles = tuple(styles)
        self.pools = {style: _Pool(corpus, style) for style in self.styles}
        nouns = set.intersection(*(set(pool.by_noun) for pool in self.pools.values()))
        self.splits = splits()
        self._held = _held_lists(self.splits.known(nouns), list(self.pools.values()))
        wanted = _HELDOUT if split == "heldout" else (split,)
        self._wanted = [name for name in wanted if self._held.get(name)]
        if split.startswith("heldout") and not self._wanted:
            raise DataError(f"the corpus {corpus.path} can show nothing of the split '{split}'")

    def plan(self, rng: np.random.Generator) -> Spec:
        """One scene of the split.

        Raises:
            DataError: everything that the corpus can show is held out.
        """
        for _ in range(_PATIENCE):
            spec = self._draw(rng)
            if self.split != "train" or not self.splits.holds_out(_shown(spec)):
                break
        else:
            raise DataError("nothing in the corpus can be shown without what is held out")
        things = spec["objects"]
        said = rng.random() < self.mix.background_said
        spec["background"] = self._background(rng, things, said)
        spec["objects"] = [{k: v for k, v in thing.items() if k != "mean"} for thing in things]
        return spec

    def _draw(self, rng: np.random.Generator) -> Spec:
        style = self._style(rng)
        pool = self.pools[style]
        if self.split.startswith("heldout"):
            kind, things, relation = self._held_out(rng, pool)
        else:
            kind = self._kind(rng, pool)
            things, relation = self._things(kind, rng, pool)
        return {"kind": kind, "style": style, "objects": things, "relation": relation}

    def _style(self, rng: np.random.Generator) -> str:
        if len(self.styles) == 1 or rng.random() < self.mix.first_style:
            return self.styles[0]
        return pick(rng, self.styles[1:])

    def _kind(self, rng: np.random.Generator, pool: _Pool) -> str:
        names = ("single", "count", "pair", "group")
        kind = weighted(rng.random(), names, (getattr(self.mix, name) for name in names))
        return kind if pool.can_show(kind) else "single"

    def _things(
        self, kind: str, rng: np.random.Generator, pool: _Pool
    ) -> tuple[list[Spec], str | None]:
        if kind == "count":
            glyph, number = pool.draw_countable(rng), _number(rng)
            return _counted(rng, self._thing(rng, glyph), number), None
        if kind == "pair":
            first, second = pool.draw_two(rng)
            relation = pick(rng, RELATIONS)
            things = [self._thing(rng, first, 0.6), self._thing(rng, second, 0.6)]
            return _related(rng, things, relation), relation
        if kind == "group":
            return self._group(rng, pool), None
        return [_single(rng, self._thing(rng, pool.draw(rng)), self.mix.small)], None

    def _group(self, rng: np.random.Generator, pool: _Pool) -> list[Spec]:
        """Two to four different things, the first of them sometimes several; six at most."""
        number = 2 + int(rng.random() * 3)
        found: dict[str, Glyph] = {}
        while len(found) < number:
            glyph = pool.draw(rng)
            found.setdefault(glyph["noun"], glyph)
        things = [self._thing(rng, glyph, 0.5) for glyph in found.values()]
        if number < 4 and things[0]["plural"] and rng.random() < 0.5:
            copies = 2 + int(rng.random() * (5 - number))
            things = [dict(things[0]) for _ in range(copies)] + things[1:]
        return _laid_out(rng, things)

    def _thing(self, rng: np.random.Generator, glyph: Glyph, share: float = 1.0) -> Spec:
        """An object without its place yet; `share` scales how often it is tinted."""
        colour = glyph["colour"] if glyph["fixed"] else None
        if glyph["tint"] and rng.random() < self.mix.tinted * share:
            colour = pick(rng, _COLOUR_NAMES)
        return _object(glyph, colour)

    def _held_out(
        self, rng: np.random.Generator, pool: _Pool
    ) -> tuple[str, list[Spec], str | None]:
        """A scene whose point is one held-out combination."""
        name = pick(rng, self._wanted)
        first, second = pick(rng, self._held[name])
        if name == "heldout-colours":
            thing = _object(pool.named(first), second)
            return "single", [_single(rng, thing, 0)], None
        if name == "heldout-counts":
            return "count", _counted(rng, _object(pool.named(first), None), int(second)), None
        names = (first, second) if rng.random() < 0.5 else (second, first)
        relation = pick(rng, RELATIONS)
        things = [_object(pool.named(noun), None) for noun in names]
        return "pair", _related(rng, things, relation), relation

    def _background(self, rng: np.random.Generator, things: list[Spec], said: bool) -> Spec:
        colour = self._ground(rng, [thing["mean"] for thing in things], said)
        shift = 0 if colour == "white" else 8
        first = [_clip(value + (rng.random() * 2 - 1) * shift) for value in PALETTE[colour]]
        spec: Spec = {"kind": "plain", "colour": colour, "rgb": first, "said": said}
        if rng.random() < self.mix.textured * (2 if said else 1):
            kind = pick(rng, ("gradient", "stripes", "dots", "checks", "rough"))
            toward = 0 if sum(first) > 600 else 255
            amount = {"gradient": 0.35, "rough": 0.3}.get(kind, 0.22)
            spec["kind"] = kind
            spec["second"] = [_clip(value + (toward - value) * amount) for value in first]
            spec["angle"] = round(rng.random() * np.pi, 3)
            spec["scale"] = 5 + int(rng.random() * 8)
            spec["seed"] = int(rng.random() * 2**31)
        return spec

    def _ground(self, rng: np.random.Generator, shown: list[RGB], said: bool) -> str:
        """A background colour against which everything shown stands out."""
        best, contrast = "white", -1.0
        for _ in range(8):
            colour = pick(rng, _BACKGROUND_NAMES) if said else _quiet(rng)
            least = min(distance(PALETTE[colour], mean) for mean in shown)
            if least > 0.2:
                return colour
            if least > contrast:
                best, contrast = colour, least
        return best


class _Pool:
    """The glyphs of one style, to be drawn by weight."""

    def __init__(self, corpus: Corpus, style: str) -> None:
        self.glyphs = [glyph for glyph in corpus.glyphs if glyph["style"] == style]
        if not self.glyphs:
            raise DataError(f"the corpus {corpus.path} has no glyph in style '{style}'")
        self.weights = list(accumulate(glyph["weight"] for glyph in self.glyphs))
        self.by_noun = {glyph["noun"]: glyph for glyph in reversed(self.glyphs)}
        self._countable = any(glyph["plural"] for glyph in self.glyphs)

    def can_show(self, kind: str) -> bool:
        """Whether there is enough for a kind of scene."""
        if kind == "count":
            return self._countable
        return len(self.by_noun) >= {"single": 1, "pair": 2, "group": 4}[kind]

    def draw(self, rng: np.random.Generator) -> Glyph:
        at = bisect(self.weights, rng.random() * self.weights[-1], hi=len(self.glyphs) - 1)
        return self.glyphs[at]

    def draw_countable(self, rng: np.random.Generator) -> Glyph:
        while True:
            glyph = self.draw(rng)
            if glyph["plural"]:
                return glyph

    def draw_two(self, rng: np.random.Generator) -> tuple[Glyph, Glyph]:
        first = second = self.draw(rng)
        while second["noun"] == first["noun"]:
            second = self.draw(rng)
        return first, second

    def named(self, noun: str) -> Glyph:
        return self.by_noun[noun]


_COLOUR_NAMES = tuple(COLOURS)
_BACKGROUND_NAMES = tuple(PALETTE)


def _shown(spec: Spec) -> list[tuple[str, str | None]]:
    return [(thing["noun"], thing["colour"]) for thing in spec["objects"]]


def weighted(draw: float, choices: Sequence[T], weights: Iterable[float]) -> T:
    """The one of `choices` that `draw`, on [0, 1), falls to."""
    ends = list(accumulate(weights))
    return choices[bisect(ends, draw * ends[-1], hi=len(ends) - 1)]


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of `choices`, evenly."""
    return choices[int(rng.random() * len(choices))]


def _object(glyph: Glyph, colour: str | None) -> Spec:
    """An object in a colour, or in its own colours (None): tinted only if it needs to be."""
    tinted = colour if colour and colour != glyph["colour"] else None
    return {
        "id": glyph["id"],
        "noun": glyph["noun"],
        "plural": glyph["plural"],
        "colour": colour,
        "tint": tinted,
        "size": None,
        "mean": COLOURS[tinted] if tinted else glyph["mean"],
        "aspect": _aspect(glyph),
    }


def _aspect(glyph: Glyph) -> tuple[float, float]:
    """Width and height of what can be seen, the longer being 1."""
    left, top, right, bottom = glyph["extent"]
    longer = max(right - left, bottom - top)
    return (right - left) / longer, (bottom - top) / longer


def _placed(
    rng: np.random.Generator, thing: Spec, cell: Box, fill: tuple[float, float], jitter: float
) -> Spec:
    """The object with a box inside `cell`, filling it by a share drawn from `fill`.

    `jitter` 0 puts it in the middle, 1 anywhere in the cell.
    """
    x, y, width, height = cell
    wide, high = thing["aspect"]
    scale = _longest(thing, cell) * (fill[0] + (fill[1] - fill[0]) * rng.random())
    w = max(round(wide * scale * GRID), 3)
    h = max(round(high * scale * GRID), 3)
    u, v = (0.5 + jitter * (rng.random() - 0.5) for _ in range(2))
    left = min(max(round((x + (width - w / GRID) * u) * GRID), 0), GRID - w)
    top = min(max(round((y + (height - h / GRID) * v) * GRID), 0), GRID - h)
    placed = {key: value for key, value in thing.items() if key != "aspect"}
    return placed | {"box": [left / GRID, top / GRID, w / GRID, h / GRID]}


def _longest(thing: Spec, cell: Box) -> float:
    """The longer side of the object where it just fits into the cell."""
    wide, high = thing["aspect"]
    return float(min(cell[2] / wide, cell[3] / high))


def _single(rng: np.random.Generator, thing: Spec, small: float) -> Spec:
    whole = (0.02, 0.02, 0.96, 0.96)
    draw = rng.random()
    if draw < small:
        return _placed(rng, thing | {"size": "small"}, whole, (0.28, 0.42), 0.9)
    if draw < small + 0.06:
        return _placed(rng, thing | {"size": "big"}, whole, (0.9, 1.0), 0.3)
    return _placed(rng, thing, whole, (0.58, 0.98), 0.6)


def _number(rng: np.random.Generator) -> int:
    """Two to six, smaller numbers more often."""
    return 2 + bisect((0.32, 0.6, 0.78, 0.9), rng.random())


_ROWS: dict[int, tuple[tuple[int, ...], ...]] = {
    1: ((1,),),
    2: ((2,), (1, 1), (2,)),
    3: ((1, 2), (2, 1), (3,)),
    4: ((2, 2),),
    5: ((2, 3), (3, 2), (2, 1, 2)),
    6: ((3, 3), (2, 2, 2)),
}


def _cells(rng: np.random.Generator, number: int) -> list[Box]:
    """`number` places that do not touch, in reading order."""
    rows = pick(rng, _ROWS[number])
    height = min(0.96 / len(rows), 0.55)
    top = 0.5 - height * len(rows) / 2
    cells = []
    for row, count in enumerate(rows):
        width = min(0.96 / count, 0.55)
        left = 0.5 - width * count / 2
        cells += [(left + width * n, top + height * row, width, height) for n in range(count)]
    return cells


def _counted(rng: np.random.Generator, thing: Spec, number: int) -> list[Spec]:
    return _laid_out(rng, [thing] * number)


def _laid_out(rng: np.random.Generator, things: list[Spec]) -> list[Spec]:
    fill = 0.72 + 0.14 * rng.random()
    cells = _cells(rng, len(things))
    return [
        _placed(rng, thing, cell, (fill, fill + 0.08), 0.8)
        for thing, cell in zip(things, cells, strict=True)
    ]


def _related(rng: np.random.Generator, things: list[Spec], relation: str) -> list[Spec]:
    """Two objects where their relation says; now and then one is small or big."""
    cut = 0.44 + 0.12 * rng.random()
    left, right = (0.02, 0.06, cut - 0.04, 0.88), (cut + 0.02, 0.06, 0.96 - cut, 0.88)
    upper, lower = (0.06, 0.02, 0.88, cut - 0.04), (0.06, cut + 0.02, 0.88, 0.96 - cut)
    swapped = relation == "next to" and rng.random() < 0.5
    cells = (upper, lower) if relation in {"above", "below"} else (left, right)
    if relation in {"to the right of", "below"} or swapped:
        cells = cells[::-1]
    small = int(rng.random() * 2) if rng.random() < 0.2 else None
    if small is None:
        return [
            _placed(rng, thing, cell, (0.84, 1.0), 0.5)
            for thing, cell in zip(things, cells, strict=True)
        ]
    word = "big" if rng.random() < 0.4 else None
    other = _placed(rng, things[1 - small] | {"size": word}, cells[1 - small], (0.94, 1.0), 0.5)
    share = max(other["box"][2:]) / _longest(things[small], cells[small])
    fill = (min(0.42 * share, 1), min(0.56 * share, 1))
    little = _placed(rng, things[small] | {"size": "small"}, cells[small], fill, 0.5)
    return [little, other] if small == 0 else [other, little]


def _quiet(rng: np.random.Generator) -> str:
    """A background that a caption need not mention: mostly white or light."""
    draw = rng.random()
    if draw < 0.5:
        return "white"
    return pick(rng, LIGHT) if draw < 0.87 else pick(rng, _BACKGROUND_NAMES)


def _clip(value: float) -> int:
    return round(min(max(value, 0), 255))


def _held_lists(known: Splits, pools: Sequence[_Pool]) -> dict[str, list[tuple[str, Any]]]:
    """The held-out combinations that can be drawn in every style, in a fixed order."""

    def can(noun: str, what: str) -> bool:
        return all(pool.named(noun)[what] for pool in pools)

    return {
        "heldout-pairs": sorted((min(pair), max(pair)) for pair in known.pairs),
        "heldout-colours": sorted(thing for thing in known.colours if can(thing[0], "tint")),
        "heldout-counts": sorted(count for count in known.counts if can(count[0], "plural")),
    }
