"""One key of a TOML text changes, and all else stays as it is written."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unclip.cli._toml import changed, written

TEXT = """# defaults
steps = 5   # a comment

# of generate
[generate]
n = 2
set = ["a=1", "b=2"]

[models.inspect] # of another
variant = 'fp16'
"""

VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8")),
    st.lists(st.text('abc"\\\n=é'), max_size=3),
)


@given(VALUES)
def test_any_value_comes_back(value: Any) -> None:
    try:
        new = changed(TEXT, "generate.n", value)
    except ValueError:  # TOML's texts hold no DEL as it is
        assert "\x7f" in written(value)
        return
    assert tomllib.loads(new) == {
        "steps": 5,
        "generate": {"n": value, "set": ["a=1", "b=2"]},
        "models": {"inspect": {"variant": "fp16"}},
    }
    assert new.count("#") - written(value).count("#") == TEXT.count("#")


@pytest.mark.parametrize(
    ("key", "value", "old", "new"),
    [
        ("steps", 6, "steps = 5   # a comment\n", "steps = 6\n"),
        ("device", "cpu", "a comment\n", 'a comment\ndevice = "cpu"\n'),
        ("generate.seed", 7, "2\"]\n", '2"]\nseed = 7\n'),
        ("models.inspect.clip", "x", "'fp16'\n", "'fp16'\nclip = \"x\"\n"),
        ("vary.n", 3, "'fp16'\n", "'fp16'\n\n[vary]\nn = 3\n"),
        ("steps", None, "steps = 5   # a comment\n", ""),
        ("models.inspect.variant", None, "variant = 'fp16'\n", ""),
    ],
)  # fmt: skip
def test_lines(key: str, value: Any, old: str, new: str) -> None:
    assert changed(TEXT, key, value) == TEXT.replace(old, new)


def test_it_begins_empty() -> None:
    assert changed("", "steps", 3) == "steps = 3\n"
    assert changed("", "generate.steps", 3) == "[generate]\nsteps = 3\n"


@pytest.mark.parametrize(
    "text", ["set = [\n1,\n2]\n", "generate = {n = 2}\n", 'generate.n = 2\nset = """\nn = 1"""\n']
)
def test_what_no_line_holds_is_left_to_an_editor(text: str) -> None:
    key = "set" if text.startswith("set") else "generate.n"
    with pytest.raises(ValueError, match="set over several lines or in a table"):
        changed(text, key, 3)


def test_what_is_not_there_is_not_removed() -> None:
    with pytest.raises(KeyError):
        changed(TEXT, "generate.seed", None)
