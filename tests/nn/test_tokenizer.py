"""Every text has tokens, every token is in the vocabulary, and the text comes back."""

from __future__ import annotations

import copy
import re
import unicodedata

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from unclip.errors import CheckpointError
from unclip.nn.tokenizer import END, PAD, START, Tokenizer

ANY_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
# letters on which all versions of Unicode agree, without control letters
LETTERS = st.characters(max_codepoint=0x24F, exclude_categories=["Cs", "Cc", "Cn"])


def normal(text: str) -> str:
    """What the tokenizer makes of a text before cutting it up."""
    lower = "".join(letter.lower() for letter in unicodedata.normalize("NFKC", text))
    return re.sub(r"\s*[.!。]+\s*$", "", lower)


def back(tokenizer: Tokenizer, text: str) -> str:
    return tokenizer.decode(torch.tensor(tokenizer.pieces(text), dtype=torch.long))


@pytest.mark.parametrize(
    "text",
    [
        "a red car",
        "two blue apples",
        "zebra quiz",
        "红色的汽车",
        "赤い車、ガレージ",
        "🦊 and 👩‍🚀",
        "naïve Ærøskøbing",
        "شجرة",
        "a\tb\nc",
        "½ & ﬁve ①",
    ],
)
def test_a_text_comes_back(text: str, tokenizer: Tokenizer) -> None:
    assert back(tokenizer, text) == normal(text)


@given(text=st.text(LETTERS, max_size=20))
@example("<end> <pad> <start> <0x41>")
@example("!a!")
@example("Σίσυφος İ ﬃ")
def test_every_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    assert back(tokenizer, text).strip() == normal(text).strip()


@given(text=ANY_TEXT)
@example("\x00\n\x1f")
@example("\ufffe\U0010ffff")
def test_no_text_fails(tokenizer: Tokenizer, text: str) -> None:
    assert all(0 <= token < tokenizer.vocab_size for token in tokenizer.pieces(text))
    assert tokenizer.encode([text])[1].any()


@given(text=ANY_TEXT)
def test_encode_frames_cuts_and_pads(tokenizer: Tokenizer, text: str) -> None:
    tokens, mask = tokenizer.encode([text, "a fox"])
    assert tokens.shape == mask.shape == (2, tokenizer.context)
    start, end, pad = ids_of(tokenizer)
    length = int(mask[0].sum())
    row = tokens[0].tolist()
    assert mask[0].tolist() == [True] * length + [False] * (tokenizer.context - length)
    assert row[0] == start
    assert row[length - 1] == end
    assert row[length:] == [pad] * (tokenizer.context - length)
    assert row[1 : length - 1] == tokenizer.pieces(text)[: tokenizer.context - 2]


def ids_of(tokenizer: Tokenizer) -> tuple[int, int, int]:
    """Start, end and padding as `encode` uses them."""
    row = tokenizer.encode([""])[0][0].tolist()
    return row[0], row[1], row[2]


def test_a_long_text_keeps_its_end_token(tokenizer: Tokenizer) -> None:
    start, end, _ = ids_of(tokenizer)
    tokens, mask = tokenizer.encode(["dog " * 100])
    assert mask.all()
    assert (int(tokens[0, 0]), int(tokens[0, -1])) == (start, end)
    assert end not in tokens[0, :-1].tolist()


@pytest.mark.parametrize("frames", [True, False])
def test_what_is_kept_of_a_long_text_is_what_is_read(tokenizer: Tokenizer, frames: bool) -> None:
    tokenizer = copy.copy(tokenizer)
    tokenizer.frames = frames
    text = " ".join(["two blue apples"] * 9)
    kept = tokenizer.kept(text)
    assert text.startswith(kept) and len(kept) < len(text)
    assert len(tokenizer.pieces(kept)) == tokenizer.room == tokenizer.context - 2 * frames
    tokens, mask = tokenizer.encode([text])
    assert tokenizer.decode(tokens[0, mask[0]]) == kept
    assert tokenizer.kept(kept) == kept


@pytest.mark.parametrize("context", [0, 1, 2])
def test_without_room_nothing_is_kept(tokenizer: Tokenizer, context: int) -> None:
    tokenizer = copy.copy(tokenizer)
    tokenizer.context = context
    assert tokenizer.kept("two blue apples") == ""


def test_a_cut_prompt_is_complained_of_with_its_last_words(tokenizer: Tokenizer) -> None:
    assert tokenizer.complaint("a fox") == ""
    text = " ".join(["two blue apples"] * 9)
    kept, count = tokenizer.kept(text), len(tokenizer.pieces(text))
    said = tokenizer.complaint(text)
    assert said.startswith(f"the prompt has {count} tokens, the model reads {tokenizer.room}: ")
    shown, _, left = said.partition("it is cut after '")[2].partition("', and '")
    shown = shown.removeprefix("… ")
    assert 0 < len(shown) <= 40 and kept.endswith(shown)
    left = left.removesuffix("' is not read").removesuffix(" …")
    assert 40 < len(left) <= 80 and text[len(kept) :].strip().startswith(left)
    tokenizer = copy.copy(tokenizer)
    tokenizer.context = 2
    assert tokenizer.complaint("a fox").endswith("is cut whole, and 'a fox' is not read")


def test_a_fault_while_it_finds_what_is_kept_is_one_line(tokenizer: Tokenizer) -> None:
    class Failing:
        def encode(self, *_: object, **__: object) -> None:
            raise RuntimeError("retry-limit")

    tokenizer = copy.copy(tokenizer)
    tokenizer._backend = Failing()
    with pytest.raises(CheckpointError, match="the tokenizer fails at this text: retry-limit"):
        tokenizer.kept("a fox")


def test_special_tokens_cannot_be_spelt(tokenizer: Tokenizer) -> None:
    text = f"a {END} {START}{PAD} b"
    assert not set(tokenizer.pieces(text)) & set(ids_of(tokenizer))
    assert back(tokenizer, text) == text


def test_case_and_width_do_not_matter(tokenizer: Tokenizer) -> None:
    assert tokenizer.pieces("A RED Car") == tokenizer.pieces("a red car")
    assert tokenizer.pieces("Ｒｅｄ") == tokenizer.pieces("red")
    assert tokenizer.pieces(" a red car") == tokenizer.pieces("a red car")


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("cats", "CatS"),
        ("cats", "cat\u017f"),
        ("cat\u017f", "cats"),
        ("\u0130x", "\u0130x"),
        ("kit", "\u212aIT"),
        ("\u03c3\u03c3", "\u03a3\u03c2"),
        ("ind", "\u0131nd"),
    ],
)
def test_a_word_is_known_in_whatever_case(word: str, written: str, tokenizer: Tokenizer) -> None:
    """Python's expressions take more letters for the same than `lower` and `casefold` do."""
    taught = tokenizer.with_words({"x": (900,), "longer word": (901,)}).with_words({word: (902,)})
    pieces = taught.pieces(f"{written} X longer WORD")
    assert [one for one in pieces if one >= 900] == [902, 900, 901]
    assert taught.knows(written) and not tokenizer.knows(written)


@pytest.mark.parametrize("end", [".", "!", "...", " . ", "。", "!!!\n"])
def test_a_final_stop_does_not_matter(end: str, tokenizer: Tokenizer) -> None:
    assert tokenizer.pieces("a red car" + end) == tokenizer.pieces("a red car")
    assert tokenizer.pieces("st. bernard") != tokenizer.pieces("st bernard")
    assert tokenizer.pieces("a car?") != tokenizer.pieces("a car")


def test_a_broken_argument_has_tokens_too(tokenizer: Tokenizer) -> None:
    """Python hands bytes that are not UTF-8 over as lone surrogates."""
    assert back(tokenizer, "a \udcff car") == "a ? car"


def test_words_of_the_corpus_are_one_token_and_others_are_not(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.pieces("car")) == 1
    assert len(tokenizer.pieces("a red car")) == 3
    assert len(tokenizer.pieces("xylophone")) > 4
    assert len(tokenizer.pieces("狐")) == 3 + 1  # its UTF-8 bytes, and the mark of a word


def test_the_vocabulary_never_exceeds_its_size() -> None:
    letters = ["".join(chr(0x4E00 + 10 * row + i) for i in range(10)) for row in range(90)]
    small = Tokenizer.train(letters, 300, 16)
    assert small.vocab_size <= 300
    assert max(small.pieces("".join(letters))) < 300
    assert back(small, letters[50]) == letters[50]


def test_training_is_reproducible() -> None:
    captions = ["a red car", "a blue car", "the moon"] * 3
    assert (
        Tokenizer.train(captions, 300, 8).to_json() == Tokenizer.train(captions, 300, 8).to_json()
    )
