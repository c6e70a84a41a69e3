"""Evaluation prompts: what is asked for is what the specification shows, and no more."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from unclip.emoji import scenes as scenes_module
from unclip.emoji.colours import COLOURS
from unclip.emoji.corpus import Corpus, build
from unclip.emoji.scenes import (
    CATEGORIES,
    FULL,
    SMALL,
    Scene,
    make_scenes,
    own_colours,
    strangers,
)
from unclip.emoji.source import EmojiConfig
from unclip.emoji.splits import splits
from unclip.errors import DataError

ASSETS = Path(__file__).parents[1] / "fixtures" / "assets"
SIZES = dict.fromkeys(FULL, 6)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> EmojiConfig:
    path = tmp_path_factory.mktemp("data") / "corpus"
    build(path, ASSETS, "everyday", ["noto"])
    return EmojiConfig(path=path)


@pytest.fixture(scope="module")
def scenes(config: EmojiConfig) -> list[Scene]:
    return make_scenes(config, SIZES)


def test_every_cell_is_filled_and_no_prompt_comes_twice_in_one(scenes: list[Scene]) -> None:
    assert Counter((scene.category, scene.split) for scene in scenes) == SIZES
    for cell in SIZES:
        prompts = [s.prompt for s in scenes if (s.category, s.split) == cell]
        assert len(set(prompts)) == len(prompts)
    assert len({scene.name for scene in scenes}) == len(scenes)


def test_the_full_set_has_a_thousand_prompts_and_the_small_one_the_same_cells() -> None:
    assert sum(FULL.values()) >= 1000
    assert set(FULL) == set(SMALL) and {category for category, _ in FULL} == set(CATEGORIES)


def test_scenes_follow_from_configuration_and_seed_alone(
    config: EmojiConfig, scenes: list[Scene]
) -> None:
    few = make_scenes(config.model_copy(update={"seed": 99}), SIZES)
    assert few == scenes
    other = make_scenes(config, SIZES, seed=1)
    assert {scene.prompt for scene in other} != {scene.prompt for scene in scenes}


def test_what_is_wanted_is_what_the_specification_shows(scenes: list[Scene]) -> None:
    for scene in scenes:
        shown = Counter((thing["noun"], thing["colour"]) for thing in scene.spec["objects"])
        assert {(thing.noun, thing.colour): thing.count for thing in scene.wanted} == shown
        ground = scene.spec["background"]
        assert scene.background == (ground["colour"] if ground["said"] else None)
        assert ground["kind"] == "plain"


def test_each_category_asks_for_what_it_is_named_after(scenes: list[Scene]) -> None:
    for scene in scenes:
        number = sum(thing.count for thing in scene.wanted)
        coloured = [thing for thing in scene.wanted if thing.colour]
        kind = scene.category
        assert (number == 1) == (kind in {"single", "colour"})
        assert (len(scene.wanted) == 2) == (kind in {"two", "position", "binding"})
        assert kind != "count" or 2 <= number <= 4
        assert kind != "colour" or bool(coloured) != bool(scene.background)
        assert kind != "position" or scene.relation
        assert kind != "two" or not scene.relation
        assert (len(coloured) == 2) == (kind == "binding")


def test_a_prompt_names_no_colour_but_those_that_are_asked_for(scenes: list[Scene]) -> None:
    for scene in scenes:
        said = {thing.colour for thing in scene.wanted} | set((scene.background or "").split())
        words = set(scene.prompt.replace(",", "").split())
        assert words & set(COLOURS) <= said
        assert {colour for colour in said if colour} <= words
        assert ("background" in words) == (scene.background is not None)


def test_splits_hold_what_training_never_saw(scenes: list[Scene]) -> None:
    known = splits()
    for scene in scenes:
        things = [(t.noun, t.colour) for t in scene.wanted for _ in range(t.count)]
        pair = frozenset(thing.noun for thing in scene.wanted) in known.pairs
        colour = any(thing in known.colours for thing in things)
        count = any((thing.noun, thing.count) in known.counts for thing in scene.wanted)
        assert (pair, colour, count) == tuple(
            scene.split == split for split in ("pairs", "colours", "counts")
        )
        assert known.holds_out(things) == (scene.split != "seen")


def test_the_same_scenes_are_said_in_chinese(config: EmojiConfig, scenes: list[Scene]) -> None:
    said = make_scenes(config, SIZES, language="zh")
    assert [replace(scene, prompt="") for scene in said] == [
        replace(scene, prompt="") for scene in scenes
    ]
    assert said == make_scenes(config, SIZES, language="zh")
    for scene in said:
        assert not any("a" <= letter.lower() <= "z" for letter in scene.prompt), scene.prompt


CHINESE = {
    "red": "红", "orange": "橙", "yellow": "黄", "green": "绿", "blue": "蓝", "purple": "紫",
    "pink": "粉", "brown": "棕", "black": "黑", "white": "白", "gray": "灰", "beige": "米",
}  # fmt: skip


def test_a_chinese_prompt_names_the_colours_that_are_asked_for_and_no_other(
    config: EmojiConfig,
) -> None:
    """Each colour's own letter, before 色: once for every time that it is asked for."""
    sizes = {("single", "seen"): 14, ("colour", "seen"): 20, ("binding", "seen"): 20}
    grounds = 0
    for scene in make_scenes(config, sizes, language="zh"):
        asked = [thing.colour for thing in scene.wanted if thing.colour]
        asked += [scene.background] if scene.background else []
        grounds += scene.background is not None
        letters = Counter(CHINESE[colour.split()[-1]] for colour in asked)
        found = Counter(re.findall("(.)色", scene.prompt))
        assert found == letters, scene.prompt
        assert ("背景" in scene.prompt) == (scene.background is not None)
        assert ("浅" in scene.prompt) == bool(scene.background and "light" in scene.background)
    assert grounds


def test_what_cannot_be_said_is_told(config: EmojiConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scenes_module.LANGUAGES, "zh", lambda *_: "一只红色的狐狸")
    with pytest.raises(DataError, match="cannot be said in language 'zh'"):
        make_scenes(config, {("position", "seen"): 1}, language="zh")


def test_a_vocabulary_that_cannot_show_a_split_leaves_it_out(config: EmojiConfig) -> None:
    one = config.model_copy(update={"nouns": ("star",)})
    made = make_scenes(one, SIZES)
    assert {scene.category for scene in made} == {"single", "colour", "count"}
    with pytest.raises(DataError, match="can show nothing of what is to be judged"):
        make_scenes(one, {("two", "seen"): 3})


def test_a_drawing_passes_for_its_own_colour_and_for_no_far_one(config: EmojiConfig) -> None:
    corpus = Corpus.open(config.path)
    own = {corpus[glyph]["noun"]: colours for glyph, colours in own_colours(corpus).items()}
    assert "yellow" in own["star"] and "red" in own["apple"] and "green" in own["cactus"]
    assert not own["star"] & {"blue", "red", "black"}
    assert not own["penguin"]


def test_strangers_are_what_narrowing_left_out_in_two_halves(config: EmojiConfig) -> None:
    whole = Corpus.open(config.path)
    corpus = whole.narrowed("all", ("star", "fox"))
    taught, asked = ({g["noun"] for g in half} for half in strangers(corpus, ("noto",)))
    assert not taught & asked and abs(len(taught) - len(asked)) <= 1
    assert taught | asked == {glyph["noun"] for glyph in whole.glyphs} - {"star", "fox"}
    assert strangers(whole, ("noto",)) == ([], [])
