"""JSON and TOML of others: the same values as Python's own readers, or one ValueError soon."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from unclip.config import Config, override, read_toml
from unclip.errors import UsageError
from unclip.plain import DEPTH, PARTS, parse_json, parse_toml, read_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text('[]{}"\\,: a', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)


@given(value=VALUES)
def test_json_is_what_was_written(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(("\ufeff" + json.dumps(value, ensure_ascii=False)).encode()) == value


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def test_depth_counts_what_is_open_at_once() -> None:
    parse_json(nested(DEPTH))
    parse_json(f"[{nested(DEPTH - 1)}, {','.join(['[]'] * 1000)}]")
    parse_json(json.dumps({"in a string": '[{"' * 1000}))
    with pytest.raises(ValueError, match=f"more than {DEPTH} deep"):
        parse_json(nested(DEPTH + 1))
    dotted = ".".join(["a"] * PARTS)
    assert parse_toml(f"{dotted} = 1\nb = '{dotted}.{dotted}'")["b"]
    with pytest.raises(ValueError, match=f"more than {PARTS} parts"):
        parse_toml(f"{dotted}.a = 1")


HOSTILE: dict[str, tuple[Callable[[str], Any], str]] = {
    "JSON a million deep": (parse_json, "[" * 10**6),
    "objects a million deep": (parse_json, '{"a":' * 10**6),
    "an open string of quotes": (parse_json, "[[" * DEPTH + '"' + '\\"' * 10**6),
    "a number of 100,000 digits in JSON": (parse_json, "1" * 10**5),
    "TOML arrays": (parse_toml, "a=" + "[" * 10**5),
    "TOML tables": (parse_toml, "a=" + "{a=" * 10**5),
    "a dotted key": (parse_toml, ".".join("a" * 10**5) + "=1"),
    "a dotted key of quotes": (parse_toml, "[" + ".".join(["'a' "] * 10**5) + "]"),
    "a dotted key without an end": (parse_toml, "b = {c = 1, " + "a." * 10**5),
    "a number of 100,000 digits": (parse_toml, "a=" + "1" * 10**5),
    "a number of 100,000 hex digits": (parse_toml, "a=0x" + "f" * 10**5),
    "a number of 65 bits": (parse_toml, "a=0x1" + "0" * 16),
    "one long word": (parse_toml, "a" * 10**6),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_refused_soon(name: str) -> None:
    parse, text = HOSTILE[name]
    start = time.process_time()
    with pytest.raises(ValueError, match=r"\w") as caught:
        parse(text)
    assert time.process_time() - start < 5, "milliseconds, but for a very slow machine"
    assert len(str(caught.value)) < 300


def test_a_file_is_read_to_its_limit_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('"' + "x" * 98 + '"')
    assert read_json(file, most=100) == "x" * 98
    with pytest.raises(ValueError, match="longer than 99 bytes"):
        read_json(file, most=99)
    with file.open("wb") as opened:
        opened.truncate(2**40)  # a hole in the file: it takes no room on the disk
    with pytest.raises(ValueError, match="longer than"):
        read_json(file)


class Sizes(Config):
    width: int = Field(le=10)


def test_recipes_and_settings_are_read_within_the_same_limits(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    for text in ("a=" + "[" * 10**5, "a=" + "1" * 10**5):
        file.write_text(text)
        with pytest.raises(UsageError, match=r"recipe\.toml is not valid TOML: "):
            read_toml(file)
    assert override({}, ["a=" + "[" * 10**5])["a"] == "[" * 10**5, "a bare word, as any other"


@pytest.mark.parametrize("value", ["x" * 10**6, [1] * 10**5, 1 << 10**5], ids=["text", "list", "n"])
def test_an_error_shows_a_long_value_cut(value: Any) -> None:
    with pytest.raises(UsageError, match="setting 'width'") as caught:
        Sizes.parse({"width": value})
    assert len(str(caught.value)) < 500
