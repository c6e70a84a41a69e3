from __future__ import annotations

import pytest

from unclip.emoji.english import article, is_plural, listing, plural, without_article


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("fox", "a"), ("apple", "an"), ("orange car", "an"), ("hourglass", "an"),
        ("unicorn", "a"), ("UFO", "a"), ("umbrella", "an"), ("x-ray", "an"),
        ("t-shirt", "a"), ("ewe", "a"), ("uniform", "a"), ("ice cube", "an"),
    ],
)  # fmt: skip
def test_article(phrase: str, expected: str) -> None:
    assert article(phrase) == expected


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("fox", "foxes"), ("butterfly", "butterflies"), ("monkey", "monkeys"), ("wolf", "wolves"),
        ("church", "churches"), ("loaf of bread", "loaves of bread"), ("snowman", "snowmen"),
        ("face with heart eyes", "faces with heart eyes"), ("bus", "buses"),
        ("person swimming", "people swimming"), ("woman firefighter", "woman firefighters"),
        ("police officer", "police officers"), ("knife", "knives"), ("sheep", "sheep"),
        ("hammer and pick", "hammers and picks"), ("skull and crossbones", "skulls and crossbones"),
        ("fork and knife with plate", "forks and knives with plate"),
        ("no entry sign", "no entry signs"),
        ("face blowing a kiss", "faces blowing a kiss"),
        ("person mountain biking", "people mountain biking"),
    ],
)  # fmt: skip
def test_plural(noun: str, expected: str) -> None:
    assert plural(noun) == expected


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("clapping hands", True), ("people hugging", True), ("scissors", True),
        ("glass", False), ("cactus", False), ("bus", False), ("fox", False),
        ("women holding hands", True), ("person in suit levitating", False),
    ],
)  # fmt: skip
def test_is_plural(noun: str, expected: bool) -> None:
    assert is_plural(noun) is expected


def test_listing() -> None:
    assert listing(["a fox"]) == "a fox"
    assert listing(["a fox", "a car"]) == "a fox and a car"
    assert listing(["a fox", "a car", "two bees"]) == "a fox, a car and two bees"


def test_without_article() -> None:
    assert without_article("an apple") == "apple"
    assert without_article("french fries") == "french fries"
