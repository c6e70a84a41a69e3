"""Chinese captions: read back, they say what the scene shows and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unclip.emoji import captions_zh
from unclip.emoji.captions_zh import caption, named
from unclip.emoji.colours import COLOURS
from unclip.emoji.names import _packaged
from unclip.emoji.source import EmojiScenes
from unclip.errors import UsageError

NUMBERS = {1: "一", 2: "两", 3: "三", 4: "四", 5: "五", 6: "六"}
SIDES = {"to the left of": "左", "to the right of": "右", "above": "上", "below": "下"}


def make(path: Path, **settings: Any) -> EmojiScenes:
    settings = {"path": path, "styles": ("noto",), "languages": {"zh": 1}, **settings}
    return EmojiScenes(EmojiScenes.Config.parse(settings), (32, 32))


def test_they_are_chinese(corpus_path: Path) -> None:
    words = list(make(corpus_path).captions(1000))
    assert len(set(words)) > 400
    assert [text for text in words if re.search(r"[a-zSA-RU-Z{}\s]", text)] == []


def test_every_thing_is_named_and_counted(corpus_path: Path) -> None:
    source = make(corpus_path)
    for position in range(500):
        spec, words = source._compose(position)
        things = spec["objects"]
        for thing in things:
            measure, name = named(source.corpus[thing["id"]])
            count = sum(other["noun"] == thing["noun"] for other in things)
            assert name in words
            if count > 1 or len(things) > 1:
                assert re.search(f"{NUMBERS[count]}{measure}[^、和在]*{name}", words)


def test_what_is_said_first_lies_on_the_side_that_is_said(corpus_path: Path) -> None:
    mix = {"single": 0, "count": 0, "pair": 1, "group": 0}
    source = make(corpus_path, mix=mix)
    seen = set()
    for position in range(200):
        spec, words = source._compose(position)
        first, second = (named(source.corpus[thing["id"]])[1] for thing in spec["objects"])
        side = SIDES.get(spec["relation"], "旁")
        assert re.search(f"{first}在.*{second}的?{side}[边侧面方]", words)
        seen.add(spec["relation"])
    assert len(seen) == 5


def test_colours_are_those_of_the_scene(corpus_path: Path) -> None:
    source = make(corpus_path, mix={"tinted": 0.7, "background_said": 0.5})
    words_of = {captions_zh.COLOURS[name]: name for name in COLOURS}
    for position in range(500):
        spec, words = source._compose(position)
        true = {thing["colour"] for thing in spec["objects"]}
        own = {source.corpus[thing["id"]]["colour"] for thing in spec["objects"]}
        ground = captions_zh.COLOURS[spec["background"]["colour"]]
        assert ("背景" in words) == spec["background"]["said"]
        assert (f"{ground}" in words) or not spec["background"]["said"]
        left = words.replace(ground, "") if spec["background"]["said"] else words
        said = {words_of[word] for word in re.findall("|".join(words_of), left)}
        assert said <= true | own
        assert {thing["colour"] for thing in spec["objects"] if thing["colour"]} <= said | {
            spec["background"]["colour"]
        }


def test_a_style_that_is_not_the_first_is_said(corpus_path: Path) -> None:
    source = make(corpus_path, styles=["noto", "flat"])
    for position in range(100):
        spec, words = source._compose(position)
        assert ("扁平风格" in words) == (spec["style"] == "flat")


def test_the_table_names_known_nouns_once() -> None:
    tables = _packaged("everyday.toml").values()
    rows = [value for table in tables for value in table.values()]
    nouns = {value if isinstance(value, str) else value["noun"] for value in rows}
    lines = [line for lines in _packaged("chinese.toml")["measure"].values() for line in lines]
    assert {line.split("=")[0] for line in lines} <= nouns
    names = [line.split("=")[1] for line in lines]
    assert len(captions_zh._table()) == len(lines) == len(set(names))


def test_a_noun_without_a_line_takes_the_name_of_cldr() -> None:
    assert named({"noun": "gizmo", "names": {"en": "gizmo", "zh": "小玩意"}}) == ("个", "小玩意")
    assert named({"noun": "gizmo", "names": {}}) == ("个", "gizmo")


def test_languages_mix_as_told_and_change_no_scene(corpus_path: Path) -> None:
    mixed = make(corpus_path, languages={"en": 3, "zh": 1}, wrong=True)
    plain = make(corpus_path, languages={"en": 1})
    chinese = 0
    for position in range(400):
        sample = mixed.sample(position)
        assert sample["spec"] == plain.sample(position)["spec"]
        told = [bool(re.search("[\u4e00-\u9fff]", sample[key])) for key in ("caption", "wrong")]
        assert told[0] == told[1] or not sample["wrong"]
        chinese += told[0]
        if not told[0]:
            assert sample["caption"] == plain.sample(position)["caption"]
    assert 70 < chinese < 130


def test_several_ways_to_say_it(corpus_path: Path) -> None:
    source = make(corpus_path)
    spec = source._compose(0)[0]
    rng = np.random.default_rng(0)
    assert len({caption(spec, rng, source.corpus) for _ in range(60)}) > 1


@pytest.mark.parametrize("languages", [{}, {"en": 0}, {"fr": 1}, {"en": -1}])
def test_errors(corpus_path: Path, languages: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="languages"):
        make(corpus_path, languages=languages)
