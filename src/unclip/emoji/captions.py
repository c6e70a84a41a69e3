"""Captions: several true ways to say what a scene shows, short and long."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np

from . import english
from .backgrounds import KINDS
from .corpus import Corpus
from .plan import Spec, pick

_OPENINGS = (
    "a drawing of ",
    "a picture of ",
    "an image of ",
    "an illustration of ",
    "an emoji of ",
)
_BIG = ("big", "large")
_SMALL = ("small", "little", "tiny")


def caption(spec: Spec, rng: np.random.Generator, corpus: Corpus) -> str:
    """One caption of the scene. It says nothing false and may leave things unsaid."""
    subject = _subject(spec, rng, corpus)
    style = _style(spec, rng, corpus)
    if spec["background"]["said"]:
        return _with_background(subject, spec["background"], rng) + style
    if style or len(spec["objects"]) > 1 or spec["objects"][0]["colour"]:
        opening = pick(rng, _OPENINGS) if rng.random() < 0.06 else ""
        return opening + subject + style
    return _alone(spec, subject, rng)


def nouns(corpus: Corpus) -> list[str]:
    """What the things of a corpus are called, in the singular and the plural."""
    names = [(g["noun"], g["plural"] or "", *g["also"]) for g in corpus.glyphs]
    return list(dict.fromkeys(name for glyph in names for name in glyph if name))


def _alone(spec: Spec, subject: str, rng: np.random.Generator) -> str:
    """One thing and nothing else to tell: mostly just its name."""
    draw = rng.random()
    if draw < 0.72:
        return subject
    if draw < 0.82:
        return pick(rng, _OPENINGS) + subject
    if draw < 0.9:
        return english.without_article(subject)
    background = spec["background"]
    return _with_background(subject, background, rng)


def _subject(spec: Spec, rng: np.random.Generator, corpus: Corpus) -> str:
    things = spec["objects"]
    if spec["relation"]:
        first, second = (_phrase([thing], rng, corpus) for thing in things)
        return f"{first} {spec['relation']} {second}"
    groups = [list(same) for _, same in groupby(things, key=lambda thing: thing["noun"])]
    return english.listing([_phrase(group, rng, corpus) for group in groups])


def _phrase(same: list[dict[str, Any]], rng: np.random.Generator, corpus: Corpus) -> str:
    """`a fox`, `a small red car`, `three apples`: one or several of the same thing."""
    thing = same[0]
    glyph = corpus[thing["id"]]
    words = []
    if thing["size"]:
        words.append(pick(rng, _SMALL if thing["size"] == "small" else _BIG))
    colour = thing["colour"]
    if not colour and glyph["colour"] and rng.random() < 0.12:
        colour = glyph["colour"]
    if colour:
        words.append(colour)
    if len(same) > 1:
        return " ".join([english.NUMBERS[len(same)], *words, thing["plural"]])
    noun = thing["noun"]
    if glyph["also"] and rng.random() < 0.2:
        noun = pick(rng, glyph["also"])
    words.append(noun)
    bare = thing["plural"] is None or (noun != thing["noun"] and english.is_plural(noun))
    phrase = " ".join(words)
    return phrase if bare else f"{english.article(phrase)} {phrase}"


def _with_background(subject: str, background: dict[str, Any], rng: np.random.Generator) -> str:
    colour = background["colour"]
    kind = KINDS[background["kind"]]
    if background["kind"] == "plain" and rng.random() < 0.2:
        kind = "plain {}"
    where = kind.format(colour)
    draw = rng.random()
    if draw < 0.12:
        return f"{subject}, {where} background"
    if draw < 0.24:
        return f"{subject} against {english.article(where)} {where} background"
    return f"{subject} on {english.article(where)} {where} background"


def _style(spec: Spec, rng: np.random.Generator, corpus: Corpus) -> str:
    """Every style but the corpus' first is always named."""
    said = spec["style"]
    if said == corpus.styles[0]:
        return f", in {said} style" if rng.random() < 0.03 and len(corpus.styles) > 1 else ""
    return pick(rng, (f", in {said} style", f" in {said} style", f", {said} style"))
