"""Which emoji there are and what people call them: the everyday list and Unicode CLDR's names."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from .. import plain
from ..errors import DataError
from . import english
from .colours import COLOURS

FETCH = "npm install --prefix assets"
ASSET_BYTES = 256 * 2**20
"""Largest of the assets; the drawings of fluent-emoji, with their gradients, take 104 MB."""
_LANGUAGES = ("en", "zh")
_SKIN_TONES = {chr(code) for code in range(0x1F3FB, 0x1F400)}
_WEIGHTS = {"People & Body": 0.25, "Symbols": 0.25, "Flags": 0.3}


@dataclass(frozen=True)
class Entry:
    """One emoji and its words.

    `plural` is None for a noun that takes neither an article nor a number ("french fries").
    `colour` None means "measure it", an empty string "there is none"; with `fixed` the noun is
    only right together with the colour ("blue heart"). `weight` is how often it is drawn.
    """

    emoji: str
    noun: str
    plural: str | None
    category: str
    also: tuple[str, ...] = ()
    colour: str | None = None
    fixed: bool = False
    tint: bool = True
    everyday: bool = False
    weight: float = 1.0
    names: dict[str, str] = field(default_factory=dict)
    keywords: dict[str, list[str]] = field(default_factory=dict)


def bare(emoji: str) -> str:
    """An emoji without the variation selector, as the tables here spell their keys."""
    return emoji.replace("\ufe0f", "")


def read_json(path: Path) -> Any:
    """Read one of the assets.

    Raises:
        DataError: it is not there (the command that fetches it is named) or damaged.
    """
    try:
        return plain.read_json(path, ASSET_BYTES)
    except FileNotFoundError:
        raise DataError(f"no drawings at {path}; fetch them with: {FETCH}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}; fetch it again with: {FETCH}") from None


def entries(assets: Path, vocabulary: str, groups: dict[str, str]) -> list[Entry]:
    """The entries of a vocabulary (`everyday` or `all`), everyday ones first.

    `groups` are Unicode's ("Food & Drink") of each emoji that has a drawing.

    Raises:
        DataError: the names are not among the assets.
    """
    words = {language: _annotations(assets, language) for language in _LANGUAGES}
    found = {entry.emoji: entry for entry in _everyday(words)}
    if vocabulary == "all":
        nouns = {entry.noun for entry in found.values()}
        for emoji, group in groups.items():
            if emoji in found or _SKIN_TONES & set(emoji) or emoji not in words["en"]:
                continue
            found[emoji] = _from_cldr(emoji, group, words, nouns)
    return [entry for emoji, entry in found.items() if emoji in groups]


def _annotations(assets: Path, language: str) -> dict[str, dict[str, list[str]]]:
    """CLDR's names (`tts`) and keywords (`default`) by emoji."""
    found: dict[str, dict[str, list[str]]] = {}
    for package, folder in (("full", "annotations"), ("derived-full", "annotationsDerived")):
        path = assets / f"cldr-annotations-{package}" / folder / language / "annotations.json"
        table = read_json(path)[folder]["annotations"]
        found |= {bare(emoji): words for emoji, words in table.items() if "tts" in words}
    return found


def _everyday(words: dict[str, dict[str, dict[str, list[str]]]]) -> Iterator[Entry]:
    for category, table in _packaged("everyday.toml").items():
        for emoji, value in table.items():
            given = {"noun": value} if isinstance(value, str) else dict(value)
            plural = given.pop("plural", None)
            also = tuple(given.pop("also", ()))
            yield Entry(
                emoji=bare(emoji),
                plural=english.plural(given["noun"]) if plural is None else plural or None,
                category=category,
                also=also,
                everyday=True,
                **given,
                **_said(bare(emoji), words),
            )


@cache
def _packaged(name: str) -> dict[str, Any]:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return tomllib.loads(text)


def _from_cldr(
    emoji: str, group: str, words: dict[str, dict[str, dict[str, list[str]]]], taken: set[str]
) -> Entry:
    name = _spoken(words["en"][emoji]["tts"][0], group)
    if _is_clock(emoji):
        name = f"clock showing {name}"
    colour, _, rest = name.partition(" ")
    fixed = colour in COLOURS and bool(rest)
    noun = rest if fixed else name
    weight = _WEIGHTS.get(group, 0.5) * (0.3 if "\u200d" in emoji or _is_clock(emoji) else 1)
    return Entry(
        emoji=emoji,
        noun=noun,
        plural=_plural(noun),
        category=group,
        colour=colour if fixed else None,
        fixed=fixed,
        tint=not fixed and group not in {"People & Body", "Symbols", "Flags"},
        weight=round(weight * (0.3 if noun in taken and not fixed else 1), 4),
        **_said(emoji, words),
    )


def _said(emoji: str, words: dict[str, dict[str, dict[str, list[str]]]]) -> dict[str, Any]:
    known = {language: table[emoji] for language, table in words.items() if emoji in table}
    return {
        "names": {language: entry["tts"][0] for language, entry in known.items()},
        "keywords": {language: entry.get("default", []) for language, entry in known.items()},
    }


def _plural(noun: str) -> str | None:
    if noun in _packaged("cldr.toml")["mass"] or english.is_plural(noun):
        return None
    return english.plural(noun)


def _spoken(name: str, group: str) -> str:
    """A CLDR name as one would say it: no colons, and symbols are called symbols."""
    say: dict[str, str] = _packaged("cldr.toml")["say"]
    name = say.get(name, name).replace("grey", "gray").replace(" (blood type)", "")
    head, colon, rest = name.partition(": ")
    if colon and head == "keycap":
        return f"keycap {rest}"
    if colon and rest.endswith(("hair", "beard")) and "," not in rest:
        return f"{head} with a beard" if rest == "beard" else f"{head} with {rest}"
    if colon and rest == "bald":
        return f"bald {head}"
    things = ("button", "sign", "mark", "arrow", "arrows", "circle", "square", "diamond")
    if group == "Symbols" and not head.endswith(things) and "symbol" not in head:
        return f"{head} symbol"
    return head


def _is_clock(emoji: str) -> bool:
    return len(emoji) == 1 and 0x1F550 <= ord(emoji) <= 0x1F567
