"""The words of captions, and those of a prompt that are not among them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unclip.vocabulary import RARE, Vocabulary

ENGLISH = Vocabulary.of(["a red car", "two blue cars on a light-gray ground", "a t-shirt", "a fox"])
CHINESE = Vocabulary.of(
    ["一辆红色的汽车", "一只小鸡", "两个鸡蛋", "一件T恤"],
    ["红色", "的", "汽车", "一", "只", "辆", "件", "小", "小鸡", "鸡蛋", "两", "个", "T恤"],
)
JAPANESE = Vocabulary.of(["赤い車", "青い家"])  # no list of words: each letter is one


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("a red car", []),
        ("A RED, blue; (Car)!", []),
        ("ａ ｒｅｄ car", []),  # full-width letters
        ("a t shirt and a T-Shirt", ["and"]),
        ("a gray fox", []),
        ("a fox's car", ["fox's"]),
        ("a blue-red car", []),  # both parts are known
        ("a cat riding a bicycle, a cat", ["cat", "riding", "bicycle"]),
        ("foxes", ["foxes"]),
        ("2 cars", ["2"]),
        ("a 🦊", ["🦊"]),
        (" - ' ... ", []),
    ],
)
def test_a_word_is_known_as_captions_spell_it(text: str, unknown: list[str]) -> None:
    assert ENGLISH.unknown(text) == unknown


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("红色的汽车", []),
        ("红色的自行车", ["自行车"]),  # what is left over is one word
        ("小鸡蛋，一件t恤", []),  # 小 + 鸡蛋: the longest word first would leave 蛋 over
        ("骑自行车的小鸡", ["骑自行车"]),
        ("红色car", ["car"]),
    ],
)
def test_a_text_without_spaces_is_cut_into_known_words(text: str, unknown: list[str]) -> None:
    known = Vocabulary({**CHINESE.counts, "小": 1})
    assert known.unknown(text) == unknown


def test_letters_are_words_where_nobody_says_which_are() -> None:
    assert JAPANESE.unknown("青い車") == []
    assert JAPANESE.unknown("赤い自転車") == ["自転"]


@given(st.lists(st.text(max_size=30), max_size=8))
def test_every_caption_is_known_and_nothing_is_without_a_list(captions: list[str]) -> None:
    vocabulary = Vocabulary.of(captions)
    assert [vocabulary.unknown(caption) for caption in captions] == [[]] * len(captions)
    assert [Vocabulary().unknown(caption) for caption in captions] == [[]] * len(captions)


def test_words_are_counted_by_caption_the_most_frequent_first() -> None:
    vocabulary = Vocabulary.of(["a fox and a cat", "a fox", "a bee"])
    assert vocabulary.counts == {"a": 3, "fox": 2, "and": 1, "bee": 1, "cat": 1}
    assert list(vocabulary.counts) == ["a", "fox", "and", "bee", "cat"]


def test_misspellings_of_a_large_data_set_are_no_words() -> None:
    captions = ["a fox"] * 10_000 + ["a foks"] * (RARE - 1) + ["a wolf"] * RARE
    assert list(Vocabulary.of(captions).counts) == ["a", "fox", "wolf"]


def test_two_vocabularies_are_counted_together() -> None:
    both = Vocabulary.of(["a fox"]) | Vocabulary.of(["a cat", "a fox"])
    assert both.counts == {"a": 3, "fox": 2, "cat": 1}


def test_the_complaint_names_what_is_unknown_and_the_nearest_known() -> None:
    said = ENGLISH.complaint("a caar beside a bicycle")
    assert said.startswith("the model does not know 'caar', 'beside', 'bicycle'; nearest")
    assert "nearest known: 'car'; " in said
    assert said.endswith("; `unclip models inspect MODEL` lists its words")
    named = ENGLISH.complaint("a bicycle", "emoji-cpu")
    assert named.endswith("; `unclip models inspect emoji-cpu` lists its words")
    assert "nearest" not in ENGLISH.complaint("a bicycle"), "nothing is spelt like it"
    assert ENGLISH.complaint("a red car") == Vocabulary().complaint("a bicycle") == ""


def test_a_word_is_searched_for_but_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt is read for every batch, and of 50,000 words the nearest takes long to find."""
    words = Vocabulary.of(["a red car"])
    first = words.complaint("a caar")
    monkeypatch.setattr("difflib.get_close_matches", lambda *_, **__: pytest.fail("again"))
    assert words.complaint("a caar") == first


def test_of_many_unknown_words_the_first_are_named() -> None:
    said = ENGLISH.complaint(" ".join(f"w{chr(97 + i)}rd" for i in range(20)))
    assert "'whrd' and 12 more;" in said
