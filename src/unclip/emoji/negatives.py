"""Captions that are almost true: one thing of a scene changed, for a CLIP that has to notice.

Hard negatives of this kind are what a CLIP otherwise need not learn: with pictures and captions
drawn at random the nouns alone tell them apart (arXiv 2210.01936).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np

from .backgrounds import PALETTE
from .colours import COLOURS
from .corpus import Corpus
from .plan import RELATIONS, Spec, pick

_LEFT, _RIGHT, _ABOVE, _BELOW = RELATIONS[:4]
OPPOSITE = {_LEFT: _RIGHT, _RIGHT: _LEFT, _ABOVE: _BELOW, _BELOW: _ABOVE}
"""left and right, above and below; "next to" has none."""


def falsified(spec: Spec, rng: np.random.Generator, corpus: Corpus) -> Spec | None:
    """The scene with one thing changed, so that a caption of it is false of the picture.

    The boxes stay what they were: captions do not speak of them. None where nothing can change.
    """
    found = [change(spec, rng, corpus) for change in _CHANGES]
    able = [one for one in found if one is not None]
    if len(able) > 1 and rng.random() < 0.8:
        del able[-1]  # another noun: any CLIP tells them apart
    return pick(rng, able) if able else None


def _relation(spec: Spec, rng: np.random.Generator, corpus: Corpus) -> Spec | None:
    """Left for right, above for below."""
    if spec["relation"] not in OPPOSITE:
        return None
    return {**spec, "relation": OPPOSITE[spec["relation"]]}


def _binding(spec: Spec, rng: np.random.Generator, corpus: Corpus) -> Spec | None:
    """Two objects with their colours exchanged: a red cat and a dog, a cat and a red dog."""
    things = spec["objects"]
    places = [n for n, thing in enumerate(things) if thing["noun"] != things[0]["noun"]]
    if not places or len(things) != 2:
        return None
    first, second = things
    if first["colour"] == second["colour"]:
        return None
    swapped = [{**first, "colour": second["colour"]}, {**second, "colour": first["colour"]}]
    return {**spec, "objects": swapped}


def _colour(spec: Spec, rng: np.random.Generator, corpus: Corpus) -> Spec | None:
    """Another colour for what is coloured."""
    things = spec["objects"]
    coloured = [thing["noun"] for thing in things if thing["colour"]]
    if not coloured:
        return None
    noun = pick(rng, coloured)
    old = next(thing["colour"] for thing in things if thing["noun"] == noun)
    new = pick(rng, [name for name in COLOURS if name != old])
    changed = [{**thing, "colour": new} if thing["noun"] == noun else thing for thing in things]
    return {**spec, "objects": changed}


def _background(spec: Spec, rng: np.random.Generator, corpus: Corpus) -> Spec | None:
    """Another background, where the caption speaks of it."""
    background = spec["background"]
    if not background["said"]:
        return None
    new = pick(rng, [name for name in PALETTE if name != background["colour"]])
    return {**spec, "background": {**background, "colour": new}}


def _count(spec: Spec, rng: np.random.Generator, corpus: Corpus) -> Spec | None:
    """One more or one less of what is counted, or two of what is alone."""
    groups = [list(same) for _, same in groupby(spec["objects"], key=lambda thing: thing["noun"])]
    counted = [n for n, group in enumerate(groups) if group[0]["plural"]]
    if not counted or spec["relation"]:
        return None
    place = pick(rng, counted)
    group = groups[place]
    fewer = len(group) > 1 and (len(group) == 6 or rng.random() < 0.5)
    groups[place] = group[:-1] if fewer else [*group, group[0]]
    return {**spec, "objects": [thing for one in groups for thing in one]}


def _noun(spec: Spec, rng: np.random.Generator, corpus: Corpus) -> Spec | None:
    """Another object in the place of one."""
    things = spec["objects"]
    shown = {thing["noun"] for thing in things}
    old = pick(rng, sorted(shown))
    others = [g for g in corpus.glyphs if g["style"] == spec["style"] and g["noun"] not in shown]
    if not others:
        return None
    new = pick(rng, others)
    named: dict[str, Any] = {"id": new["id"], "noun": new["noun"], "plural": new["plural"]}
    several = sum(thing["noun"] == old for thing in things) > 1
    if several and not new["plural"]:
        named["plural"] = new["noun"]
    return {**spec, "objects": [{**t, **named} if t["noun"] == old else t for t in things]}


_CHANGES: tuple[Callable[[Spec, np.random.Generator, Corpus], Spec | None], ...] = (
    _relation,
    _binding,
    _colour,
    _background,
    _count,
    _noun,
)
"""The last of them is the easiest to notice."""
