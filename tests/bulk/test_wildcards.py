"""Choices in prompts: all of them, one by seed with its weight, files, and what is wrong."""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unclip.bulk.wildcards import DEEPEST, Wildcards
from unclip.errors import UsageError
from unclip.weighting import LONGEST


@pytest.mark.parametrize(
    ("template", "texts"),
    [
        ("a fox", ["a fox"]),
        ("{red|blue} car", ["red car", "blue car"]),
        ("{a|b}{1|2}", ["a1", "a2", "b1", "b2"]),
        ("a {big {red|blue}|small} car", ["a big red car", "a big blue car", "a small car"]),
        ("{|very }big", ["big", "very big"]),
        ("{red}", ["red"]),
        ("{3::a|0.5::b|.5::c|d}", ["a", "b", "c", "d"]),
        ("{a|a|b}", ["a", "b"]),
        ("a | b", ["a | b"]),
        (r"\{a\|b\} {c\|d|e}", ["{a|b} c|d", "{a|b} e"]),
        (r"\__a__ __ __", ["__a__ __ __"]),
        (r"(a:1.3) \(b\) c\\", [r"(a:1.3) \(b\) c\\"]),
        (" a  fox \n", [" a  fox \n"]),
    ],
)
def test_all_combinations(template: str, texts: list[str]) -> None:
    assert Wildcards().combinations(template) == texts
    assert {Wildcards().draw(template, seed) for seed in range(60)} == set(texts)
    assert Wildcards().is_template(template) == ("{" in re.sub(r"\\.", "", template))


def test_a_seed_draws_the_same_everywhere_and_weights_count() -> None:
    drawn = [Wildcards().draw("{3::red|blue} {car|bus|fox}", seed) for seed in range(2000)]
    assert drawn[:4] == ["red car", "blue bus", "red bus", "red car"], "as in the first version"
    assert drawn == [Wildcards().draw("{3::red|blue} {car|bus|fox}", seed) for seed in range(2000)]
    colours, things = Counter(one.split()[0] for one in drawn), Counter(o.split()[1] for o in drawn)
    assert 0.71 < colours["red"] / 2000 < 0.79
    assert min(things.values()) > 600
    assert {Wildcards().draw("{0::red|blue}", seed) for seed in range(50)} == {"blue"}


@pytest.mark.parametrize("last", ["x", "{|}", "{a|b}"])
@pytest.mark.parametrize("line", ["__{}__ __{}__", "__{}____{}__", "__{}__\n__{}__"])
def test_files_that_double_take_no_time(tmp_path: Path, line: str, last: str) -> None:
    for level in range(30):
        own = line.replace("{}", f"f{level + 1}") if level < 29 else last
        (tmp_path / f"f{level}.txt").write_text(own)
    wildcards = Wildcards(tmp_path)
    started = time.monotonic()
    assert wildcards.is_template("__f0__")
    assert len(wildcards.combinations("__f20__ __f29__" if "\n" in line else "__f27__")) < 5_000
    if "\n" in line:
        assert len(wildcards.draw("__f0__")) <= 1
    for read in (wildcards.combinations, *([] if "\n" in line else [wildcards.draw])):
        with pytest.raises(UsageError, match=r"100,000 letters|10,000 combinations"):
            read("__f0__")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "text", ["__a/", "__a", "_", "__a//", "{", "}", "|", r"\{", "{a|", "1", "{1::", "{a}", "{|}"]
)
def test_no_template_takes_long(text: str) -> None:
    started = time.monotonic()
    with contextlib.suppress(UsageError):
        Wildcards().draw(text * (LONGEST // len(text)))
    assert time.monotonic() - started < 5


def test_a_drawn_prompt_is_no_longer_than_one_may_be() -> None:
    assert len(Wildcards().draw("{" + "a" * (LONGEST - 1) + "}")) == LONGEST - 1
    with pytest.raises(UsageError, match="texts of more than 100,000 letters and choices"):
        Wildcards().draw("{a|" + "a" * LONGEST + "}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sea").mkdir()
    (tmp_path / "animals.txt").write_text(
        "# four legs\nfox\n\n  2::__sea/fish__ \r\n{old|young} cat\n"
    )
    (tmp_path / "sea" / "fish.txt").write_text("\ufeffcod\neel", encoding="utf-8")
    (tmp_path / "a.txt").write_text("__b__\n")
    (tmp_path / "b.txt").write_text("x\n__a__\n")
    (tmp_path / "none.txt").write_text("# nothing\n\n")
    (tmp_path / "bad.txt").write_text("fine\n{red\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    return tmp_path


def test_files_hold_choices_weights_and_other_files(folder: Path) -> None:
    wildcards = Wildcards(folder)
    animals = ["fox", "cod", "eel", "old cat", "young cat"]
    assert wildcards.combinations("a __animals__") == [f"a {one}" for one in animals]
    assert len(wildcards.combinations("__animals__ and __animals__")) == 25
    drawn = Counter(wildcards.draw("__animals__", seed) for seed in range(2000))
    assert 0.45 < (drawn["cod"] + drawn["eel"]) / 2000 < 0.55


@pytest.mark.parametrize(
    ("template", "parts"),
    [
        ("a {red|blue", ["the prompt 'a {red|blue' has a { without a }", r"write \{ for a brace"]),
        ("a red} car", ["has a } without a {", r"write \} for a brace"]),
        ("{0::a|0::b}", ["weights are all 0"]),
        ("{" * (DEEPEST + 1) + "a" + "}" * (DEEPEST + 1), ["more than 32 deep"]),
        ("{" * 100_000, ["more than 32 deep"]),
        ("a __anmals__", ["no file of wildcards", "anmals.txt", "did you mean 'animals'?"]),
        ("a __../secret__", []),
        ("__a__", ["in a circle: __a__ → __b__ → __a__"]),
        ("__none__", ["none.txt has no options"]),
        ("__bad__", ["bad.txt: the prompt '{red' has a { without a }"]),
        ("__latin__", ["latin.txt: line 1 is not UTF-8"]),
        ("{a|b}" * 20, ["more than 10,000 combinations", "--combinatorial"]),
    ],
)
def test_what_is_wrong_is_one_line(template: str, parts: list[str], folder: Path) -> None:
    if not parts:  # no name of a file
        assert Wildcards(folder).combinations(template) == [template]
        return
    with pytest.raises(UsageError) as caught:
        Wildcards(folder).combinations(template)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    for part in parts:
        assert part in str(caught.value)


def test_files_without_their_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"asks for __animals__: give the folder .* --wildcards"):
        Wildcards().draw("a __animals__")
    with pytest.raises(UsageError, match=r"there is no folder of wildcards at .*nowhere"):
        Wildcards(tmp_path / "nowhere")


@given(st.text(alphabet="ab {}|_\\:1", max_size=12))
def test_what_is_drawn_is_one_of_all(template: str) -> None:
    wildcards = Wildcards()
    try:
        texts = wildcards.combinations(template)
    except UsageError:
        return
    assert wildcards.draw(template, 7) in texts
    assert len(set(texts)) == len(texts)
