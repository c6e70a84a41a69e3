"""Read untrusted JSON and TOML as plain data, within limits.

A small file can cause endless work: brackets nested a million deep, a number of a hundred thousand
digits. Every fault of a text is a ValueError of one line.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .files import text_of

JSON_BYTES = 64 * 2**20
"""Largest JSON file; a tokenizer of 250,000 words takes 17 MB."""
TOML_BYTES = 2**20
"""Largest TOML file."""
DEPTH = 64
"""Deepest nesting of lists and objects."""
PARTS = 16
"""Most parts of a dotted key."""

_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+"""
_DOTTED = re.compile(rf"(?:^|[\[{{,])[ \t]*+{_PART}(?:\.[ \t]*+{_PART}){{{PARTS}}}", re.MULTILINE)

Pairs = Callable[[list[tuple[str, Any]]], Any]


def parse_json(text: str | bytes, pairs: Pairs | None = None) -> Any:
    """Parse JSON as plain data; a byte-order mark is ignored.

    Args:
        text: the whole text.
        pairs: makes the value of an object from its names and values in order.

    Raises:
        ValueError: it is not JSON, or nested too deep.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    text = text.removeprefix("\ufeff")
    try:
        value = json.loads(text, object_pairs_hook=pairs)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except ValueError as error:
        if "set_int_max_str_digits" in str(error):  # Python's own words; others are of `pairs`
            raise ValueError("a number in it has too many digits") from None
        raise
    if text.count("[") + text.count("{") > DEPTH:
        _check([value])
    return value


def read_json(file: Path | str, most: int = JSON_BYTES) -> Any:
    """The JSON of a file of at most `most` bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is longer, or as for `parse_json`.
    """
    return parse_json(text_of(file, most))


def parse_toml(text: str) -> dict[str, Any]:
    """TOML as plain data. Raises ValueError if it is invalid (with the line) or nested too deep."""
    if _DOTTED.search(text):
        raise ValueError(f"a key in it has more than {PARTS} parts")
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    _check(values, bits=64)
    return values


def _check(values: Any, bits: float = math.inf) -> None:
    """Reject deep nesting, and numbers of more than `bits` bits.

    TOML numbers have 64 bits, but Python reads hexadecimal ones of any length.
    """
    level = [values]
    for _ in range(DEPTH + 1):
        inner = [each for one in level for each in (one.values() if isinstance(one, dict) else one)]
        if any(isinstance(one, int) and one.bit_length() > bits for one in inner):
            raise ValueError(f"a number in it has more than {bits} bits")
        level = [one for one in inner if isinstance(one, (dict, list))]
        if not level:
            return
    raise ValueError(f"it is nested more than {DEPTH} deep")
