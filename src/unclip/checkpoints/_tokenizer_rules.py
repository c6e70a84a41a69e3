"""What a foreign `tokenizer.json` may ask of the tokenizers library: checked before it is read.

The library follows every rule. One that writes ten letters for each, five times over, fills the
memory; a table of letters that is shorter than it says ends the whole process.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from typing import Any

GROWTH = 64
"""Most letters that rules may make of one."""
RULES = 256
"""Most rules."""
LETTERS = "precompiled_charsmap"


def check_rules(values: Any) -> None:
    """Hold the rules of a tokenizer's JSON, as plain data, against the limits.

    Raises:
        ValueError: it has too many, they make too much of a text, or a table is damaged.
    """
    if not isinstance(values, dict):
        raise ValueError("it is no JSON object")
    rules = list(_rules(values.get("normalizer")))
    if len(rules) > RULES or len(list(_rules(values.get("pre_tokenizer")))) > RULES:
        raise ValueError(f"it has more than {RULES} rules")
    growth = 1.0
    for rule in rules:
        if rule.get("type") == "Replace":
            growth *= max(1.0, _growth(rule))
        elif rule.get("type") == "Prepend":
            growth += len(str(rule.get("prepend", "")))
        elif LETTERS in rule:
            _check_letters(rule[LETTERS])
    if growth > GROWTH:
        raise ValueError(f"its rules make more than {GROWTH} letters of one")


def _rules(tree: Any) -> Iterator[dict[str, Any]]:
    """All objects in a tree of rules; it is no deeper than JSON may be."""
    if isinstance(tree, dict):
        yield tree
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for one in inner:
        yield from _rules(one)


def _growth(rule: dict[str, Any]) -> float:
    """How much longer a replacement makes a text; an expression may match nothing at all."""
    pattern, content = rule.get("pattern"), str(rule.get("content", ""))
    text = pattern.get("String") if isinstance(pattern, dict) else None
    if isinstance(text, str) and text:
        return len(content) / len(text)
    return 1.0 + len(content)


def _check_letters(table: Any) -> None:
    """A length, a double-array trie of so many bytes, then texts (sentencepiece)."""
    raw = base64.b64decode(table, validate=True) if isinstance(table, str) else b""
    size = struct.unpack("<I", raw[:4])[0] if len(raw) > 4 else 0
    if not 0 < size <= len(raw) - 4 or size % 4:
        raise ValueError("its table of letters is damaged")
