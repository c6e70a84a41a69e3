"""The syntax of prompts: what is no syntax stays as it is, and weights multiply."""

from __future__ import annotations

import contextlib
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unclip.errors import UsageError
from unclip.weighting import LONGEST, Clause, escaped, further, has_syntax, parse, plain

LETTERS = st.text(alphabet="ab ,:.é🦊\\n0<>|{}-'", max_size=12).filter(
    lambda text: r"\\" not in text
)
ANY = st.text(alphabet="ab ()[]\\:1.3<>lora,AND BREAK", max_size=40)


def pieces(clause: Clause) -> list[list[tuple[str, float]]]:
    """Letters of one weight in a row, of each text."""
    found: list[list[tuple[str, float]]] = []
    for text in clause.texts:
        found.append([])
        for letter, weight in zip(text.letters, text.weights, strict=True):
            if found[-1] and found[-1][-1][1] == weight:
                found[-1][-1] = (found[-1][-1][0] + letter, weight)
            else:
                found[-1].append((letter, weight))
    return found


def only(prompt: str) -> list[tuple[str, float]]:
    (clause,) = parse(prompt).clauses
    (text,) = pieces(clause)
    return text


@given(LETTERS)
def test_a_prompt_without_syntax_is_itself(text: str) -> None:
    written = parse(text)
    (clause,) = written.clauses
    assert clause.whole.letters == written.plain == text
    assert set(clause.whole.weights) <= {1.0}
    assert not (written.weighs or written.breaks or written.left_out)


@given(ANY)
def test_what_is_escaped_is_itself(text: str) -> None:
    """Whatever its letters are, and once more."""
    once = escaped(text)
    assert plain(once) == text
    assert not parse(once).weighs
    assert plain(escaped(once)) == once
    assert has_syntax(text) or plain(text) == text


@given(st.lists(st.sampled_from(["()", "[]", "1.5", "-0.5", "0"]), max_size=6), LETTERS)
def test_weights_multiply_by_nesting(around: list[str], inside: str) -> None:
    inside = inside.replace(":", "")
    prompt, weight = escaped(inside), 1.0
    for kind in around:
        if kind in ("()", "[]"):
            prompt = kind[0] + prompt + kind[1]
            weight *= 1.1 if kind == "()" else 1 / 1.1
        else:
            prompt, weight = f"({prompt}:{kind})", weight * float(kind)
    (clause,) = parse(f"x {prompt} y").clauses
    whole = clause.whole
    assert whole.letters == f"x {inside} y"
    assert set(whole.weights[:2] + whole.weights[-2:]) == {1.0}
    assert all(math.isclose(one, weight, abs_tol=1e-12) for one in whole.weights[2:-2])


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("a (red:1.3) car", [("a ", 1.0), ("red", 1.3), (" car", 1.0)]),
        ("a ((red)) car", [("a ", 1.0), ("red", 1.1 * 1.1), (" car", 1.0)]),
        ("[a]", [("a", 1 / 1.1)]),
        ("(a [b])", [("a ", 1.1), ("b", 1.1 * (1 / 1.1))]),
        ("(a : 1.5 )", [("a ", 1.5)]),
        ("(a:.5)(b:+2)(c:-1.)", [("a", 0.5), ("b", 2.0), ("c", -1.0)]),
        ("[a:1.3]", [("a:1.3", 1 / 1.1)]),
        (r"\(a\) \[b\] \\", [(r"(a) [b]" + " \\", 1.0)]),
        (r"(a\):2)", [("a)", 2.0)]),
        (r"a \AND b \BREAK c", [("a AND b BREAK c", 1.0)]),
        ("ANDROID BREAKFAST and break", [("ANDROID BREAKFAST and break", 1.0)]),
        ("(cats AND dogs)", [("cats AND dogs", 1.1)]),
        (":3) :1.3) ] (a", [(":3) :1.3) ] (a", 1.0)]),
        ("a (b [c) d]", [("a (b ", 1.0), ("c) d", 1 / 1.1)]),
        ("12:30", [("12:30", 1.0)]),
    ],
)
def test_what_is_read(prompt: str, found: list[tuple[str, float]]) -> None:
    assert only(prompt) == found


def test_clauses_and_their_weights() -> None:
    written = parse("a (cat:2) :0.5 AND  dogs:-1.5 AND AND 12:30 \\(x\\)")
    assert [(one.whole.letters, one.weight) for one in written.clauses] == [
        ("a cat", 0.5),
        ("dogs", -1.5),
        ("12:30 (x)", 1.0),
    ]
    assert written.plain == "a cat, dogs, 12:30 (x)"
    assert only("a cat AND") == [("a cat", 1.0)]
    (whole,) = parse("a AND b", conjunction=False).clauses
    assert whole.whole.letters == "a AND b"


def test_breaks() -> None:
    (clause,) = parse("a (b BREAK c:2)  BREAK d BREAK").clauses
    assert pieces(clause) == [[("a ", 1.0), ("b", 2.0)], [("c", 2.0)], [("d", 1.0)]]
    assert clause.whole.letters == "a b c d"
    assert parse("a BREAK b").breaks
    assert not parse("BREAK a").breaks


def test_what_belongs_to_another_option_is_left_out() -> None:
    written = parse("a <lora:ink:0.8>fox <3")
    assert written.left_out == ("<lora:ink:0.8>",)
    assert written.plain == "a fox <3"


@pytest.mark.parametrize("number", ["10.5", "-11", "9" * 400])
@pytest.mark.parametrize("prompt", ["(a:{})", "a:{} AND b"])
def test_a_weight_out_of_range(number: str, prompt: str) -> None:
    with pytest.raises(UsageError, match=r"the prompt has the weight \S+: it must be -10 to 10$"):
        parse(prompt.format(number))


@pytest.mark.parametrize(
    "text", [" ", ":", " :", "1", ":1", "(", "[(", "<lora:", "\\", "AND:", "(a:1 ", "((a) "]
)
def test_no_prompt_takes_long(text: str) -> None:
    started = time.monotonic()
    for prompt in (text * (LONGEST // len(text)), "a AND b" + text * (LONGEST // len(text) - 7)):
        with contextlib.suppress(UsageError):
            parse(prompt[:LONGEST])
    assert time.monotonic() - started < 5


def test_no_more_clauses_than_are_drawn_at_once() -> None:
    assert further(" AND ".join("abcdefgh")) == 7
    assert further("AND " * 50 + "a") == further("a") == 0
    with pytest.raises(UsageError, match=r"the prompt joins 100 prompts by AND: give at most 8$"):
        parse(" AND ".join(["a fox"] * 100))
    assert parse(" AND ".join(["a fox"] * 100), conjunction=False)


def test_a_prompt_has_a_greatest_length() -> None:
    assert plain("a" * LONGEST) == "a" * LONGEST
    with pytest.raises(UsageError, match=r"the prompt has 100,001 letters: give at most 100,000$"):
        parse("a" * (LONGEST + 1))


def test_brackets_without_end_take_no_time() -> None:
    assert not parse("(" * 5_000).weighs
    assert parse("((a) " * 2_000).weighs
    assert plain(":" + " " * 10_000) == ":" + " " * 10_000
