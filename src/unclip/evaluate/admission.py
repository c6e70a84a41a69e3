"""Is a judge fit to judge? Put it before real renderings, and before prompts that they are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data._backgrounds import PALETTE
from ..data._colours import COLOURS
from ..data.emoji import EmojiConfig, EmojiScenes
from .intervals import wilson
from .scenes import CATEGORIES, SPLITS, Scene, Sizes, Wanted, make_scenes, own_colours, strangers
from .seen import UNKNOWN, Judge, Pictures, Seen
from .verifier import Share, check, is_right

SEED = 5_000_031
"""Of the renderings that judges are admitted on: no judge's training, no prompt's."""

BAR = 0.99
KINDS = ("object", "count", "colour", "relation", "ground")
"""In what a prompt is altered, so that a judge has to reject the picture."""

_BATCH = 64
_OPPOSITE = {
    "to the left of": "to the right of",
    "to the right of": "to the left of",
    "above": "below",
    "below": "above",
}

Spoil = Callable[[Pictures], Pictures]


@dataclass(frozen=True)
class Admission:
    """How often a judge is right on real renderings, and how often it rejects what is wrong."""

    judge: str
    hash: str
    right: dict[str, Share]
    rejected: dict[str, Share]
    unknown: Share | None
    mistakes: tuple[tuple[str, str], ...]

    @property
    def admitted(self) -> bool:
        """Whether every share reaches the bar."""
        return all(one.value >= BAR for one in (*self.right.values(), *self.rejected.values()))

    def dump(self) -> dict[str, Any]:
        """For a report."""
        return {
            "judge": self.judge,
            "hash": self.hash,
            "admitted": self.admitted,
            "right": {name: share.dump() for name, share in self.right.items()},
            "rejected": {name: share.dump() for name, share in self.rejected.items()},
            "unknown": self.unknown.dump() if self.unknown else None,
        }

    def lines(self) -> Iterator[str]:
        """A table for a terminal."""
        yield f"judge {self.judge} {self.hash}: {'admitted' if self.admitted else 'not admitted'}"
        tables = (("right on", self.right), ("rejects another", self.rejected))
        for title, table in tables:
            for name, share in table.items():
                yield f"  {title} {name:<9} {_percent(share)}"
        if self.unknown:
            yield f"  calls unknown what is none of its nouns {_percent(self.unknown)}"


def admit(
    judge: Judge,
    config: EmojiConfig,
    each: int = 300,
    *,
    seed: int = SEED,
    side: int = 256,
    spoil: Spoil | None = None,
) -> Admission:
    """Measure a judge on renderings that neither it nor a generator has seen.

    Args:
        judge: who is to be admitted.
        config: corpus, nouns and styles; its seed, split and mix are not used.
        each: renderings a category, a quarter of them of what training holds out.
        seed: of the renderings.
        side: of the pictures.
        spoil: changes the pictures first, to see what a judge forgives.

    Where the corpus holds other nouns too, half of them (which no judge is trained on) are shown
    as well, each alone: of these a judge should say that it knows none.
    """
    source = EmojiScenes(config, side)
    scenes = make_scenes(config, _sizes(each), seed)
    seen = _looks(judge, [source.render(scene.spec, side) for scene in scenes], spoil)
    found = [check(scene, one) for scene, one in zip(scenes, seen, strict=True)]
    right: dict[str, list[bool]] = {name: [] for name in (*CATEGORIES, "all")}
    mistakes = []
    for scene, one, aspects in zip(scenes, seen, found, strict=True):
        right[scene.category].append(is_right(scene, aspects))
        right["all"].append(all(aspects.values()))
        if not right["all"][-1]:
            mistakes.append((scene.prompt, _told(one)))
    return Admission(
        judge.name,
        judge.hash,
        {name: Share(sum(rows), len(rows)) for name, rows in right.items() if rows},
        _rejections(source, scenes, seen, seed),
        _strangers(judge, source, each, seed),
        tuple(mistakes),
    )


def _sizes(each: int) -> Sizes:
    held = {"two": ["pairs"], "count": ["counts"], "colour": ["colours"], "position": ["pairs"]}
    held |= {"binding": ["pairs", "colours"]}
    sizes: dict[tuple[str, str], int] = {}
    for category in CATEGORIES:
        others = held.get(category, [])
        quarter = each // 4 // max(len(others), 1)
        sizes |= {(category, split): quarter for split in SPLITS if split in others}
        sizes[category, "seen"] = each - quarter * len(others)
    return sizes


def _looks(judge: Judge, pictures: list[NDArray[np.uint8]], spoil: Spoil | None) -> list[Seen]:
    seen: list[Seen] = []
    for start in range(0, len(pictures), _BATCH):
        batch = np.stack(pictures[start : start + _BATCH])
        seen += judge.look(spoil(batch) if spoil else batch)
    return seen


def _rejections(
    source: EmojiScenes, scenes: list[Scene], seen: list[Seen], seed: int
) -> dict[str, Share]:
    """Of each kind of altered prompt, how often a judge finds that the picture is not of it."""
    rng = np.random.default_rng(seed)
    alter = _Alter(source, rng)
    found: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    for scene, one in zip(scenes, seen, strict=True):
        for kind in KINDS:
            other = alter(scene, kind)
            if other:
                found[kind].append(not all(check(other, one).values()))
    return {kind: Share(sum(rows), len(rows)) for kind, rows in found.items() if rows}


class _Alter:
    """A scene's prompt with one thing changed, so that its picture no longer shows it."""

    def __init__(self, source: EmojiScenes, rng: np.random.Generator) -> None:
        self.rng = rng
        self.nouns = sorted({glyph["noun"] for glyph in source.corpus.glyphs})
        self.own = own_colours(source.corpus)

    def __call__(self, scene: Scene, kind: str) -> Scene | None:
        """The altered scene; None where there is nothing of the kind to alter."""
        change: dict[str, Callable[[Scene], Scene | None]] = {
            "object": self._object,
            "count": self._count,
            "colour": self._colour,
            "relation": self._relation,
            "ground": self._ground,
        }
        return change[kind](scene)

    def _object(self, scene: Scene) -> Scene | None:
        shown = {thing.noun for thing in scene.wanted}
        others = [noun for noun in self.nouns if noun not in shown]
        if not others:
            return None
        first, *rest = scene.wanted
        other = replace(first, noun=str(self.rng.choice(others)), colour=None)
        return replace(scene, wanted=(other, *rest))

    def _count(self, scene: Scene) -> Scene:
        first, *rest = scene.wanted
        number = first.count + (1 if first.count == 1 or self.rng.random() < 0.5 else -1)
        return replace(scene, wanted=(replace(first, count=number), *rest), relation=None)

    def _colour(self, scene: Scene) -> Scene | None:
        """Two colours exchanged; one colour for another that the object does not pass for."""
        if scene.wanted[0].colour is None:
            return None
        if scene.category == "binding":
            first, second = scene.wanted
            pair = (replace(first, colour=second.colour), replace(second, colour=first.colour))
            if any(self._passes(scene, one) for one in pair):
                return None
            return replace(scene, wanted=tuple(replace(one, own=False) for one in pair))
        first, *rest = scene.wanted
        others = [replace(first, colour=c, own=False) for c in COLOURS if c != first.colour]
        others = [one for one in others if not self._passes(scene, one)]
        other = others[int(self.rng.integers(len(others)))]
        return replace(scene, wanted=(other, *rest))

    def _passes(self, scene: Scene, thing: Wanted) -> bool:
        """Whether the picture's object shows its own colours, and these pass for the word."""
        drawn = next(one for one in scene.spec["objects"] if one["noun"] == thing.noun)
        return drawn["tint"] is None and thing.colour in self.own[drawn["id"]]

    def _relation(self, scene: Scene) -> Scene | None:
        if scene.relation not in _OPPOSITE:
            return None
        return replace(scene, relation=_OPPOSITE[scene.relation])

    def _ground(self, scene: Scene) -> Scene | None:
        if scene.ground is None:
            return None
        others = [word for word in PALETTE if word != scene.ground]
        return replace(scene, ground=str(self.rng.choice(others)))


def _strangers(judge: Judge, source: EmojiScenes, each: int, seed: int) -> Share | None:
    """How often a judge says of an object that is none of its nouns that it is none of them."""
    others = strangers(source.corpus, source.planner.styles)[1]
    nouns = tuple(sorted({glyph["noun"] for glyph in others} - set(judge.nouns)))
    if not nouns:
        return None
    config = source.config.model_copy(update={"nouns": nouns})
    scenes = make_scenes(config, {("single", "seen"): each}, seed)
    pictures = [source.render(scene.spec, source.size) for scene in scenes]
    unknown = [all(t.noun == UNKNOWN for t in one.things) for one in _looks(judge, pictures, None)]
    return Share(sum(unknown), len(unknown))


def _told(seen: Seen) -> str:
    things = [f"{thing.tint or 'own'} {thing.noun or 'unknown'}" for thing in seen.things]
    return f"{', '.join(things) or 'nothing'} on {seen.ground}"


def _percent(share: Share) -> str:
    low, high = wilson(share.right, share.total)
    return f"{share.value:7.2%} ({low:.1%} to {high:.1%}, {share.right}/{share.total})"
