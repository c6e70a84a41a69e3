"""How reliable a judge is, on real renderings and on prompts that these do not show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from ..evaluate.image_set import OnProgress
from ..pages.intervals import Share
from .backgrounds import PALETTE
from .colours import COLOURS
from .judge import UNKNOWN, Detections, Judge
from .negatives import OPPOSITE
from .scenes import CATEGORIES, SPLITS, Scene, Sizes, Wanted, make_scenes, own_colours, strangers
from .source import EmojiConfig, EmojiScenes
from .verifier import check, is_right

SEED = 5_000_031
"""Of the renderings that judges are calibrated on: no judge's training, no prompt's."""

BAR = 0.99
"""What every share has to reach."""

_BATCH = 16
_TABLES = ("right", "colours", "rejected")


@dataclass(frozen=True)
class Calibration:
    """How often a judge is right on real renderings, and how often it rejects what is wrong."""

    judge: str
    hash: str
    right: dict[str, Share]  # by category, and "all" for every aspect of every rendering
    colours: dict[str, Share]  # every aspect right, by a colour that is asked of an object
    rejected: dict[str, Share]  # by what was altered in the prompt
    unknown: Share | None  # of renderings of other nouns, how many it calls unknown
    mistakes: tuple[tuple[str, str], ...]  # (prompt, what it saw)

    @property
    def reliable(self) -> bool:
        """Whether it is right in every category, and rejects every kind of falsehood, often enough.

        Colours have too few renderings each to be held to the bar one by one.
        """
        return all(one.value >= BAR for one in (*self.right.values(), *self.rejected.values()))

    @property
    def short(self) -> dict[str, Share]:
        """The shares that miss the bar, by what they are of."""
        named = {f"right: {name}": share for name, share in self.right.items()}
        named |= {f"rejects another {name}": share for name, share in self.rejected.items()}
        return {name: share for name, share in named.items() if share.value < BAR}

    def dump(self) -> dict[str, Any]:
        """Plain data that `parse` reads back."""
        return {
            "judge": self.judge,
            "hash": self.hash,
            "admitted": self.reliable,
            **{table: {k: v.dump() for k, v in getattr(self, table).items()} for table in _TABLES},
            "unknown": self.unknown.dump() if self.unknown else None,
            "mistakes": [list(one) for one in self.mistakes],
        }

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """From what `dump` gave."""
        tables = {
            table: {name: Share.parse(one) for name, one in values[table].items()}
            for table in _TABLES
        }
        unknown = Share.parse(values["unknown"]) if values["unknown"] else None
        mistakes = tuple((prompt, told) for prompt, told in values["mistakes"])
        return cls(values["judge"], values["hash"], unknown=unknown, mistakes=mistakes, **tables)


def calibrate(
    judge: Judge,
    config: EmojiConfig,
    each: int = 300,
    *,
    seed: int = SEED,
    size: tuple[int, int] = (256, 256),
    on_progress: OnProgress | None = None,
) -> Calibration:
    """Measure a judge on renderings that neither it nor a generator has seen.

    There are `each` of every category, a quarter of them of what training holds out, at (height,
    width) `size`; of `config` the corpus, nouns and styles are used. Where the corpus holds other
    nouns too, half of them (which no judge is trained on) are shown as well, each alone: of these a
    judge should say that it knows none. `on_progress` may raise `Cancelled`.
    """
    source = EmojiScenes(config, size)
    scenes = make_scenes(config, _sizes(each), seed)
    seen = _looks(judge, source, scenes, on_progress)
    right: dict[str, list[bool]] = {name: [] for name in (*CATEGORIES, "all")}
    colours: dict[str, list[bool]] = {name: [] for name in COLOURS}
    mistakes = []
    for scene, one in zip(scenes, seen, strict=True):
        aspects = check(scene, one)
        whole = all(aspects.values())
        right[scene.category].append(is_right(scene, aspects))
        right["all"].append(whole)
        for colour in {thing.colour for thing in scene.wanted if thing.colour}:
            colours[colour].append(whole)
        if not whole:
            mistakes.append((scene.prompt, _told(one)))
    return Calibration(
        judge.name,
        judge.hash,
        _shares(right),
        _shares(colours),
        _rejections(source, scenes, seen, seed),
        _strangers(judge, source, each, seed),
        tuple(mistakes),
    )


def _shares(found: Mapping[str, list[bool]]) -> dict[str, Share]:
    """Of what there is anything of."""
    return {name: Share(sum(rows), len(rows)) for name, rows in found.items() if rows}


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


def _looks(
    judge: Judge,
    source: EmojiScenes,
    scenes: list[Scene],
    on_progress: OnProgress | None = None,
) -> list[Detections]:
    """What a judge sees in renderings of scenes."""
    seen: list[Detections] = []
    for start in range(0, len(scenes), _BATCH):
        part = scenes[start : start + _BATCH]
        pictures = np.stack([source.render(scene.spec) for scene in part])
        seen += judge.look(pictures)
        if on_progress:
            on_progress(len(seen), len(scenes))
    return seen


def _rejections(
    source: EmojiScenes, scenes: list[Scene], seen: list[Detections], seed: int
) -> dict[str, Share]:
    """Of each kind of altered prompt, how often a judge finds that the picture is not of it."""
    rng = np.random.default_rng(seed)
    alter = _Alter(source, rng)
    found: dict[str, list[bool]] = {kind: [] for kind in alter.kinds}
    for scene, one in zip(scenes, seen, strict=True):
        for kind, change in alter.kinds.items():
            if other := change(scene):
                found[kind].append(not all(check(other, one).values()))
    return _shares(found)


class _Alter:
    """A scene's prompt with one thing changed: a judge has to reject the picture for it."""

    def __init__(self, source: EmojiScenes, rng: np.random.Generator) -> None:
        self.rng = rng
        self.nouns = sorted(source.corpus.nouns)
        self.own = own_colours(source.corpus)
        self.kinds: dict[str, Callable[[Scene], Scene | None]] = {
            "object": self._object,
            "count": self._count,
            "colour": self._colour,
            "relation": self._relation,
            "ground": self._background,
        }  # None where there is nothing of the kind to alter

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
        if scene.relation not in OPPOSITE:
            return None
        return replace(scene, relation=OPPOSITE[scene.relation])

    def _background(self, scene: Scene) -> Scene | None:
        if scene.background is None:
            return None
        others = [word for word in PALETTE if word != scene.background]
        return replace(scene, background=str(self.rng.choice(others)))


def _strangers(judge: Judge, source: EmojiScenes, each: int, seed: int) -> Share | None:
    """How often a judge says of an object that is none of its nouns that it is none of them."""
    others = strangers(source.corpus, source.planner.styles)[1]
    nouns = tuple(sorted({glyph["noun"] for glyph in others} - set(judge.nouns)))
    if not nouns:
        return None
    config = source.config.model_copy(update={"nouns": nouns})
    scenes = make_scenes(config, {("single", "seen"): each}, seed)
    seen = _looks(judge, source, scenes)
    unknown = [all(thing.noun == UNKNOWN for thing in one.things) for one in seen]
    return Share(sum(unknown), len(unknown))


def _told(seen: Detections) -> str:
    things = [f"{thing.tint or 'own'} {thing.noun or 'unknown'}" for thing in seen.things]
    return f"{', '.join(things) or 'nothing'} on {seen.background}"
