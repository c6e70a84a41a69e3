"""Composed emoji scenes without end: pictures, captions and what each of them shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from .. import config
from ..data.source import SAMPLED, IndexedSource, Sample
from ..errors import DataError, UsageError, nearest
from ..vocabulary import Vocabulary
from . import captions, captions_zh
from .backgrounds import Box
from .corpus import Corpus
from .negatives import falsified
from .plan import GRID, Mix, Planner, Spec, Split, Weight, pick, weighted
from .render import render

LANGUAGES = {"en": captions.caption, "zh": captions_zh.caption}
"""Who says in a language what a scene shows."""

Language = Literal["en", "zh"]
Languages = Annotated[dict[Language, Weight], Field(min_length=1)]


def _english() -> dict[Language, float]:
    return {"en": 1.0}


class EmojiConfig(config.Config):
    """Which scenes to compose.

    `path` is a corpus folder (`unclip data emoji`). `vocabulary`, `nouns` (the objects to keep,
    all where empty) and `styles` narrow what it holds; without `styles`, all of them are used,
    the corpus' first one unnamed in captions.
    `split` is `train` (nothing held out), `heldout` (nothing else; also by kind:
    `heldout-pairs`, `heldout-colours`, `heldout-counts`) or `any`. With `wrong` each sample has a
    caption that is almost true, for CLIP's loss. `languages` are those of the captions, with how
    often each comes (relative weights). Of pictures that are larger than `crop_size` only a square
    of that side is rendered, in which a part of an object is, on a grid of 1/64 of the picture.
    """

    path: config.UserPath
    vocabulary: Literal["everyday", "all"] = "all"
    nouns: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    split: Split = "train"
    seed: int = Field(default=0, ge=0)
    mix: Mix = Mix()
    wrong: bool = False
    languages: Languages = Field(default_factory=_english)
    crop_size: int | None = Field(default=None, gt=0)

    @field_validator("languages")
    @classmethod
    def _says_something(cls, value: dict[str, float]) -> dict[str, float]:
        if not sum(value.values()):
            raise ValueError("the languages cannot all have the weight 0")
        return value


class EmojiScenes(IndexedSource):
    """The scenes of a corpus. Sample `position` depends on the configuration and on it alone.

    Raises:
        DataError: the corpus is missing or damaged, or has nothing for the split.
        UsageError: a style that the corpus does not hold, or pictures that are not square.
    """

    Config = EmojiConfig

    def __init__(self, config: EmojiConfig, size: tuple[int, int]) -> None:
        super().__init__()
        if size[0] != size[1]:
            raise UsageError(f"scenes of emoji are square pictures, not {size[1]}×{size[0]}")
        self.config = config
        self.side = size[0]
        seen = min(config.crop_size or self.side, self.side)
        self.size = (seen, seen)
        self.corpus = Corpus.open(config.path).narrowed(config.vocabulary, config.nouns)
        styles = config.styles or self.corpus.styles
        for style in styles:
            if style not in self.corpus.styles:
                hint = nearest(style, self.corpus.styles)
                raise UsageError(f"the corpus {config.path} has no style '{style}'{hint}")
        if self.side > seen and not self.corpus.scales:
            raise DataError(
                f"the corpus {config.path} has no drawings to make pictures of {self.side} pixels "
                f"of; build it again: unclip data emoji --out {config.path}"
            )
        self.planner = Planner(self.corpus, config.mix, config.split, styles)

    @classmethod
    def at(
        cls, path: Path, size: tuple[int, int], settings: Mapping[str, Any] | None = None
    ) -> Self | None:
        """Every scene of a corpus folder; None where the folder is none."""
        return super().at(path, size, {"split": "any", **(settings or {})})

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A corpus folder."""
        return (path / "corpus.json").is_file()

    def summary(self) -> dict[str, Any]:
        """What the corpus holds."""
        return self.corpus.summary()

    def sample(self, position: int) -> Sample:
        """Scene number `position`: its picture (*size, 3), a caption and its specification."""
        spec, words = self._compose(position)
        image = render(spec, self.side, self.corpus, self._part(spec, position))
        made: Sample = {"image": image, "caption": words, "spec": spec}
        if self.config.wrong:
            made["wrong"] = self._wrong(spec, position)
        return made

    def captions(self, count: int) -> Iterator[str]:
        """The captions of the first `count` scenes."""
        return (self._compose(position)[1] for position in range(count))

    def vocabulary(self) -> Vocabulary:
        """The words of its captions. Chinese is cut into the words that its captions are made of.

        Few captions of many have any one noun: those of the corpus are counted once more.
        """
        names = {"en": captions.nouns, "zh": captions_zh.nouns}
        nouns = [noun for one in self.config.languages for noun in names[one](self.corpus)]
        terms = captions_zh.terms(self.corpus)
        return Vocabulary.of(self.captions(SAMPLED), terms) | Vocabulary.of(nouns, terms)

    def render(self, spec: Spec) -> NDArray[np.uint8]:
        """(side, side, 3): the whole picture that a specification describes."""
        return render(spec, self.side, self.corpus)

    def _part(self, spec: Spec, position: int) -> Box | None:
        """What is rendered of a scene: None where all of it is, else around a place in a thing."""
        seen, side = self.size[0], self.side
        if seen == side:
            return None
        rng = np.random.Generator(np.random.PCG64((self.config.seed, position, 3)))
        x, y, width, height = pick(rng, spec["objects"])["box"]
        middle = x + width * rng.random(), y + height * rng.random()
        step = max(1, side // GRID)
        last = (side - seen) // step
        left, top = (step * min(round(max(at * side - seen / 2, 0) / step), last) for at in middle)
        return left, top, left + seen, top + seen

    def _wrong(self, spec: Spec, position: int) -> str:
        """A caption that is false of the scene by one thing; empty where there is none."""
        rng = np.random.Generator(np.random.PCG64((self.config.seed, position, 1)))
        other = falsified(spec, rng, self.corpus)
        return self._say(other, position, rng) if other else ""

    def _compose(self, position: int) -> tuple[Spec, str]:
        rng = np.random.Generator(np.random.PCG64((self.config.seed, position)))
        spec = self.planner.plan(rng)
        return spec, self._say(spec, position, rng)

    def _say(self, spec: Spec, position: int, rng: np.random.Generator) -> str:
        """A caption in the language of the sample, which is also that of its wrong one."""
        names = list(self.config.languages)
        if len(names) == 1:
            return LANGUAGES[names[0]](spec, rng, self.corpus)
        draw = np.random.Generator(np.random.PCG64((self.config.seed, position, 2))).random()
        language = weighted(draw, names, self.config.languages.values())
        return LANGUAGES[language](spec, rng, self.corpus)


SOURCE = EmojiScenes
