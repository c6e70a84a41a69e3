"""Captions in one form, and the scripts they are in."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unclip.data._captions import normalised, script_of
from unclip.errors import UsageError


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        ("  a  red\n\tcar ", "a red car"),
        ("salt &amp; pepper", "salt & pepper"),
        ("salt &amp;amp; pepper", "salt & pepper"),
        ("&quot;caf&eacute;&quot; &#8211; &#x4e2d;", '"café" – 中'),
        ("cafe\u0301", "café"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("AT&T in R&D", "AT&T in R&D"),
        ("\x00\x07", ""),
        ("a\u00a0b\u3000c", "a b c"),
    ],
)
def test_one_form(stored: str, wanted: str) -> None:
    assert normalised(stored) == wanted


@pytest.mark.parametrize(
    ("longest", "wanted"), [(9, "a red car"), (8, "a red"), (5, "a red"), (4, "a"), (1, "a")]
)
def test_a_long_caption_ends_with_a_whole_word(longest: int, wanted: str) -> None:
    assert normalised("a red car", longest) == wanted


def test_a_word_that_is_too_long_is_cut() -> None:
    assert normalised("红色的汽车在路上", 3) == "红色的"
    with pytest.raises(UsageError, match="at least 1 letter, got 0"):
        normalised("a", 0)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40), st.integers(1, 50))
def test_one_form_is_one_form(text: str, longest: int) -> None:
    once = normalised(text, longest)
    assert len(once) <= longest
    assert once == once.strip() and "  " not in once and "\n" not in once
    assert unicodedata.is_normalized("NFC", once)


@pytest.mark.parametrize(
    ("caption", "script"),
    [
        ("a red car", "Latin"),
        ("ein rotes Auto, größer", "Latin"),
        ("красный дом, BMW", "Cyrillic"),
        ("一只红色的狐狸", "Han"),
        ("赤い車", "Kana"),
        ("カー", "Kana"),
        ("빨간 자동차", "Hangul"),
        ("سيارة حمراء", "Arabic"),
        ("κόκκινο", "Greek"),
        ("12 + 3!", "none"),
        ("", "none"),
    ],
)
def test_scripts(caption: str, script: str) -> None:
    assert script_of(caption) == script
