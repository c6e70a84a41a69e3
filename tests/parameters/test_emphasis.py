"""Prompts of ComfyUI and NovelAI mean here what they meant there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unclip.parameters import Parameters
from unclip.parameters._emphasis import translated
from unclip.weighting import parse, weighted

from .test_comfyui import changed
from .test_novelai import COMMENT

Pieces = list[tuple[str, float]]


def pieces(prompt: str) -> Pieces:
    """Letters of one weight in a row."""
    (clause,) = parse(prompt).clauses
    (text,) = clause.texts
    found: Pieces = []
    for letter, weight in zip(text.letters, text.weights, strict=True):
        if found and found[-1][1] == round(weight, 3):
            found[-1] = (found[-1][0] + letter, found[-1][1])
        else:
            found.append((letter, round(weight, 3)))
    return found


@pytest.mark.parametrize(
    ("prompt", "want"),
    [
        ("[red] car AND x BREAK y", [("[red] car AND x BREAK y", 1.0)]),
        ("a <lora:ink:1> {b} c:0.5", [("a <lora:ink:1> {b} c:0.5", 1.0)]),
        ("a (red:1.3) (car)", [("a ", 1.0), ("red", 1.3), (" ", 1.0), ("car", 1.1)]),
        ("((a) b:0.8)", [("a", 0.88), (" b", 0.8)]),
        ("(a (b:1.3) [c])", [("a ", 1.1), ("b", 1.3), (" [c]", 1.1)]),
        ("((AND))ROID", [("AND", 1.21), ("ROID", 1.0)]),
        ("AND()ROID", [("ANDROID", 1.0)]),
        (r"a \(b\) \[c \\", [(r"a (b) \[c " + "\\" * 2, 1.0)]),
        (r"(\n)(\a)", [(r"\n\a", 1.1)]),
        (":( a) b (", [(":", 1.0), (" a", 1.1), (" b (", 1.0)]),
        ("12:30) :1.3)", [("12:30) :1.3)", 1.0)]),
    ],
)
def test_comfyui(prompt: str, want: Pieces) -> None:
    graph = changed("6", text=prompt) | {"7": changed("7", text=prompt)["7"]}
    found = Parameters.in_notes({"prompt": json.dumps(graph)})
    assert found is not None
    assert pieces(found.prompt) == pieces(found.negative_prompt) == want


@pytest.mark.parametrize(
    ("prompt", "want"),
    [
        ("(red:1.3) car AND x", [("(red:1.3) car AND x", 1.0)]),
        ("{{a}} [b]", [("a", 1.103), (" ", 1.0), ("b", 0.952)]),
        (r"\(a\) {b:1.3) c} }", [(r"\(a\) ", 1.0), ("b:1.3) c", 1.05), (" }", 1.0)]),
    ],
)
def test_novelai(prompt: str, want: Pieces) -> None:
    said: dict[str, Any] = COMMENT | {"prompt": prompt, "uc": prompt}
    found = Parameters.in_notes({"Comment": json.dumps(said)})
    assert found is not None
    assert pieces(found.prompt) == pieces(found.negative_prompt) == want


TEXT = st.text(alphabet="ab ()[]{}\\\\:1.3<>lora,AND BREAK", max_size=30)


@given(st.lists(st.tuples(TEXT.filter(bool), st.sampled_from([1.0, 1.3, -0.5])), max_size=4))
def test_what_is_written_is_read(want: Pieces) -> None:
    (clause,) = parse(weighted(want)).clauses
    letters = [(letter, weight) for text, weight in want for letter in text]
    assert list(zip(clause.whole.letters, clause.whole.weights, strict=True)) == letters


@given(TEXT)
def test_any_prompt_is_one_text(prompt: str) -> None:
    for brackets in ({"()": 1.1}, {"{}": 1.05, "[]": 1 / 1.05}):
        written = parse(translated(prompt.replace(":1", ""), brackets))
        assert len(written.clauses) == 1 and not (written.breaks or written.left_out)
