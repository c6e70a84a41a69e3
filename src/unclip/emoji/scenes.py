"""Prompts with the specification of what they ask for, made by the corpus' own composer.

Six categories, each scored for itself: a single object, two objects, a count, a colour (of an
object or of the background), a position, and binding: two objects, each in its colour. A split says
what of a prompt training has held out (`splits.py`): nothing (`seen`), the pair of objects,
an object in a colour, or an object in a number.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from ..errors import DataError
from . import captions_zh
from .colours import COLOURS, oklab, tint
from .corpus import Corpus, Glyph
from .plan import Mix, Planner, Spec
from .source import LANGUAGES, EmojiConfig, EmojiScenes, Language
from .splits import splits

SEED = 5_000_021
"""Of the prompts: no recipe's, and not that of a judge's training or calibration."""

CATEGORIES = ("single", "two", "count", "colour", "position", "binding")
SPLITS = ("seen", "pairs", "colours", "counts")

Sizes = Mapping[tuple[str, str], int]  # (category, split) -> how many prompts

FULL: Sizes = {(category, "seen"): 110 for category in CATEGORIES} | {
    ("two", "pairs"): 70,
    ("position", "pairs"): 70,
    ("binding", "pairs"): 50,
    ("colour", "colours"): 70,
    ("binding", "colours"): 50,
    ("count", "counts"): 70,
}
"""1,040 prompts."""

SMALL: Sizes = dict.fromkeys(FULL, 10)
"""120 prompts, for a CPU."""

_ALONE = {"count": 0.0, "pair": 0.0, "group": 0.0}
_PLAIN = {"small": 0.0, "textured": 0.0, "background_said": 0.25}
_MIXES: dict[str, Mix] = {
    "single": Mix(single=1, tinted=0, **_ALONE, **_PLAIN),
    "two": Mix(single=0, count=0, pair=0, group=1, tinted=0, **_PLAIN),
    "count": Mix(single=0, count=1, pair=0, group=0, tinted=0, **_PLAIN),
    "colour": Mix(single=1, tinted=0.6, **_ALONE, **_PLAIN | {"background_said": 0.6}),
    "position": Mix(single=0, count=0, pair=1, group=0, tinted=0, **_PLAIN),
    "binding": Mix(single=0, count=0, pair=0.7, group=0.3, tinted=1, **_PLAIN),
}
_MOST = 4  # the highest number in a count
_PATIENCE = 20_000  # draws for one prompt
_TRIES = 200  # captions of one scene in another language
_SPOKEN: dict[str, tuple[dict[str, str], Callable[[Glyph], tuple[str, str]]]] = {
    "zh": (captions_zh.COLOURS, captions_zh.named)
}  # what colours are called, and things: (measure word, name)
_ALIKE = 0.06  # mean OKLab distance up to which a drawing's own colours pass for a tint


@dataclass(frozen=True)
class Wanted:
    """What a prompt asks of one noun: how many, in which colour (None: any).

    `own` tells whether the drawing's own colours count as that colour ("a red apple").
    """

    noun: str
    count: int = 1
    colour: str | None = None
    own: bool = False


@dataclass(frozen=True)
class Scene:
    """A prompt, what it asks for, and the composer's specification that it was made from."""

    name: str
    category: str
    split: str
    prompt: str
    wanted: tuple[Wanted, ...]
    relation: str | None
    background: str | None
    spec: Spec


def make_scenes(
    config: EmojiConfig, sizes: Sizes = SMALL, seed: int = SEED, language: Language = "en"
) -> list[Scene]:
    """Prompts of every category and split, no English prompt twice.

    The same configuration and seed give the same prompts. A category that the vocabulary cannot
    show (a held-out pair of which it has one noun) comes out smaller, or not at all.

    Scenes are made in English, and then said again in another `language`: scene i is the same in
    every one of them, its name and its specification included, so that languages can be compared.

    Of `config` the corpus, nouns and styles are used; `sizes` are `FULL`, `SMALL` or others.

    Raises:
        DataError: the corpus is missing, damaged, or can show nothing of `sizes`; or something
            cannot be said in `language` without a colour that is not asked for.
    """
    source = EmojiScenes(config.model_copy(update={"split": "any"}), (64, 64))
    maker = _Maker(source)
    found: list[Scene] = []
    for cell, number in sizes.items():
        found += maker.cell(*cell, number, seed)
    if not found:
        raise DataError(f"the corpus {config.path} can show nothing of what is to be judged")
    if language == "en":
        return found
    return [maker.said_in(language, scene, (seed, index)) for index, scene in enumerate(found)]


def own_colours(corpus: Corpus) -> dict[str, frozenset[str]]:
    """Per glyph, the colour words that its own drawing passes for.

    Beside the corpus' own word, every tint that changes the drawing by no more than `_ALIKE` on
    average: nobody could tell a star from a yellow star.
    """
    return {glyph["id"]: frozenset(_passes_for(corpus, glyph)) for glyph in corpus.glyphs}


def strangers(corpus: Corpus, styles: tuple[str, ...]) -> tuple[list[Glyph], list[Glyph]]:
    """Glyphs of nouns that a narrowed corpus left out: (for training a judge, for calibration)."""
    known = set(corpus.nouns)
    others = [g for g in corpus.records.values() if g["noun"] not in known and g["style"] in styles]
    first = set(sorted({glyph["noun"] for glyph in others})[::2])
    return (
        [glyph for glyph in others if glyph["noun"] in first],
        [glyph for glyph in others if glyph["noun"] not in first],
    )


def _passes_for(corpus: Corpus, glyph: Glyph) -> Iterator[str]:
    if glyph["colour"]:
        yield glyph["colour"]
    how = glyph["tint"]
    if not how:
        return
    pixels = corpus.picture(glyph["id"], 48, 48)
    alpha = pixels[..., 3:] / np.float32(255)
    plain = oklab(pixels[..., :3] / np.maximum(alpha, 1 / 255))
    for colour in COLOURS:
        tinted = tint(pixels, colour, how["level"], how["hue"], how["all"])
        off = np.linalg.norm(oklab(tinted[..., :3] / np.maximum(alpha, 1 / 255)) - plain, axis=-1)
        if float((off * alpha[..., 0]).sum() / alpha.sum()) <= _ALIKE:
            yield colour


class _Maker:
    def __init__(self, source: EmojiScenes) -> None:
        self.corpus = source.corpus
        self.styles = source.planner.styles
        self.own = own_colours(self.corpus)
        self.splits = splits()

    def cell(self, category: str, split: str, number: int, seed: int) -> Iterator[Scene]:
        """`number` scenes of one category and split, or as many as there are."""
        if number and not self._exists(category, split):
            return
        rng = np.random.Generator(
            np.random.PCG64((seed, CATEGORIES.index(category), SPLITS.index(split)))
        )
        planner = Planner(self.corpus, _MIXES[category], "any", self.styles)
        taken: set[str] = set()
        for index in range(number):
            for _ in range(_PATIENCE):
                spec = planner.plan(rng)
                if self._wanted(spec, category, split):
                    words = self._words(spec, rng)
                    if words is not None and words not in taken:
                        break
            else:
                return
            taken.add(words)
            yield self._scene(f"{category}-{split}-{index:03d}", category, split, words, spec)

    def _exists(self, category: str, split: str) -> bool:
        nouns = self.corpus.nouns
        if category in {"two", "position", "binding"} and len(nouns) < 2:
            return False
        known = self.splits.known(nouns)
        return split == "seen" or bool(getattr(known, split))

    def _wanted(self, spec: Spec, category: str, split: str) -> bool:
        """Whether a drawn scene is one of the category, and of the split and no other."""
        things = spec["objects"]
        fits = {
            "single": spec["kind"] == "single",
            "two": len(things) == 2,
            "count": spec["kind"] == "count" and len(things) <= _MOST,
            "colour": bool(things[0]["colour"]) != spec["background"]["said"],
            "position": spec["relation"] not in {None, "next to"},
            "binding": _is_binding(things),
        }[category]
        if not fits or any(thing["size"] for thing in things):
            return False
        shown = [(thing["noun"], thing["colour"]) for thing in things]
        return self.splits.held_out(shown) == ({split} - {"seen"})

    def _words(self, spec: Spec, rng: np.random.Generator) -> str | None:
        """A caption that tells of no colour that is not asked for; None if chance gives none."""
        said = {thing["colour"] for thing in spec["objects"]}
        background = spec["background"]
        for _ in range(8):
            words = LANGUAGES["en"](spec, rng, self.corpus)
            body = words.partition(background["colour"])[0] if background["said"] else words
            if not background["said"] and "background" in words:
                continue
            if not any(colour in body.split() for colour in set(COLOURS) - said):
                return words
        return None

    def said_in(self, language: Language, scene: Scene, seed: tuple[int, int]) -> Scene:
        """The scene with its prompt in another language, which names the same colours."""
        colours, named = _SPOKEN[language]
        longest_first = sorted(colours.values(), key=len, reverse=True)  # some are part of others
        some = re.compile("|".join(longest_first))
        asked = Counter(colours[thing.colour] for thing in scene.wanted if thing.colour)
        asked.update([colours[scene.background]] if scene.background else [])
        for glyph in {thing["id"] for thing in scene.spec["objects"]}:
            asked.update(some.findall(named(self.corpus[glyph])[1]))
        for attempt in range(_TRIES):
            rng = np.random.Generator(np.random.PCG64((*seed, attempt)))
            words = LANGUAGES[language](scene.spec, rng, self.corpus)
            if Counter(some.findall(words)) == asked:
                return replace(scene, prompt=words)
        raise DataError(
            f"'{scene.prompt}' cannot be said in language '{language}' without a colour that is "
            "not asked for"
        )

    def _scene(self, name: str, category: str, split: str, words: str, spec: Spec) -> Scene:
        background = spec["background"]
        return Scene(
            name=name,
            category=category,
            split=split,
            prompt=words,
            wanted=tuple(self._asked(spec)),
            relation=spec["relation"],
            background=background["colour"] if background["said"] else None,
            spec=spec,
        )

    def _asked(self, spec: Spec) -> Iterator[Wanted]:
        for noun, same in groupby(spec["objects"], key=lambda thing: thing["noun"]):
            things = list(same)
            colour = things[0]["colour"]
            own = colour in self.own[things[0]["id"]]
            yield Wanted(noun, len(things), colour, own)


def _is_binding(things: list[Spec]) -> bool:
    colours = {thing["colour"] for thing in things}
    return len(things) == 2 and None not in colours and len(colours) == 2
