"""What captions are made of: their scripts, and one form for equal texts."""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter

from ..errors import UsageError

_SPACE = re.compile(r"\s+")
_INVISIBLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u200b\u2060\ufeff\ud800-\udfff]")
_ENTITY = re.compile(r"&(#\d+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);")
_HAN = ("CJK", "KANGXI")
_JAPANESE = ("HIRAGANA", "KATAKANA")

TWICE = 3
"""How often entities are resolved: crawled pages hold `&amp;amp;`."""


def normalised(caption: str, longest: int | None = None) -> str:
    """A caption in one form: entities resolved, NFC, single spaces, nothing invisible.

    Args:
        longest: most letters; a longer caption ends with its last whole word.
    """
    if longest is not None and longest < 1:
        raise UsageError(f"the longest caption must have at least 1 letter, got {longest}")
    for _ in range(TWICE):
        if not _ENTITY.search(caption):
            break
        caption = html.unescape(caption)
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", caption))
    text = _SPACE.sub(" ", text).strip()
    if longest is None or len(text) <= longest:
        return text
    cut = text[: longest + 1].rpartition(" ")[0]
    return cut.rstrip() or text[:longest]


def script_of(caption: str) -> str:
    """The script of most of its letters: Latin, Han, Kana, Cyrillic, ...; 'none' without letters.

    A text with any kana is Japanese writing, and counts as Kana. It is the script, not the
    language: English and Polish are both Latin.
    """
    found = Counter(_script(letter) for letter in caption if letter.isalpha())
    if found["Kana"]:
        return "Kana"
    return max(found, key=lambda name: (found[name], name)) if found else "none"


def _script(letter: str) -> str:
    """The first word of a letter's name in Unicode is its script's."""
    if letter.isascii():
        return "Latin"
    name = unicodedata.name(letter, "UNNAMED").removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ")
    first = name.split()[0].partition("-")[0]
    if first in _JAPANESE:
        return "Kana"
    return "Han" if first in _HAN else first.capitalize()
