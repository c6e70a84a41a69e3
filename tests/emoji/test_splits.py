"""What is held out is never trained on, and is all that the held-out splits show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from unclip.emoji.corpus import Corpus
from unclip.emoji.names import entries
from unclip.emoji.source import EmojiScenes
from unclip.emoji.splits import Splits, splits

from .conftest import ASSETS


def plans(path: Path, split: str, count: int, **settings: Any) -> list[list[tuple[str, Any]]]:
    values = {"path": path, "styles": ["noto"], "split": split, **settings}
    source = EmojiScenes(EmojiScenes.Config.parse(values), (64, 64))
    specs = (source._compose(position)[0] for position in range(count))
    return [[(thing["noun"], thing["colour"]) for thing in spec["objects"]] for spec in specs]


def test_the_splits_are_what_they_were(corpus: Corpus) -> None:
    held = splits()
    assert (len(held.pairs), len(held.colours), len(held.counts)) == (172, 139, 90)
    assert all(len(pair) == 2 for pair in held.pairs)
    assert {count for _, count in held.counts} == {2, 3, 4, 5, 6}


def test_the_splits_speak_of_the_everyday_vocabulary() -> None:
    """Every held-out noun is a real one: checked on the list itself, not on the small corpus."""
    import tomllib
    from importlib import resources

    table = tomllib.loads(
        resources.files("unclip.emoji").joinpath("everyday.toml").read_text("utf-8")
    )
    values = [value for category in table.values() for value in category.values()]
    nouns = {value if isinstance(value, str) else value["noun"] for value in values}
    assert len(nouns) == len(values)  # no noun stands for two drawings
    held = splits()
    assert {noun for pair in held.pairs for noun in pair} <= nouns
    assert {noun for noun, _ in held.colours | held.counts} <= nouns


def test_no_held_out_colour_is_the_natural_one() -> None:
    held = splits()
    for entry in entries(ASSETS, "everyday", {"🍎": "", "🦊": "", "🚗": ""}):
        assert (entry.noun, entry.colour) not in held.colours


@pytest.mark.parametrize("mix", [{}, {"single": 0.2, "count": 1, "pair": 1, "group": 1}])
def test_training_never_shows_what_is_held_out(corpus_path: Path, mix: dict[str, float]) -> None:
    held = splits()
    shown = plans(corpus_path, "train", 5000, mix=mix)
    assert not any(held.holds_out(things) for things in shown)
    everything = plans(corpus_path, "any", 5000, mix=mix)
    assert sum(held.holds_out(things) for things in everything) > 50


@pytest.mark.parametrize("split", ["heldout", "heldout-pairs", "heldout-colours", "heldout-counts"])
def test_the_held_out_splits_show_nothing_else(corpus_path: Path, split: str) -> None:
    held = splits()
    parts = {
        "heldout-pairs": Splits(held.pairs, frozenset(), frozenset()),
        "heldout-colours": Splits(frozenset(), held.colours, frozenset()),
        "heldout-counts": Splits(frozenset(), frozenset(), held.counts),
    }
    part = parts.get(split, held)
    shown = plans(corpus_path, split, 1000)
    assert all(part.holds_out(things) for things in shown)
    assert len({tuple(things) for things in shown}) >= 10


@pytest.mark.parametrize(
    ("things", "expected"),
    [
        ([("apple", None), ("car", None)], True),
        ([("car", "blue"), ("fox", None), ("apple", None)], True),
        ([("apple", None), ("fox", None)], False),
        ([("apple", "blue")], True),
        ([("apple", "green")], False),
        ([("apple", None)] * 3, True),
        ([("apple", None)] * 2, False),
        ([("fox", None), *[("apple", "red")] * 3], True),
    ],
)
def test_holds_out(things: list[tuple[str, str | None]], expected: bool) -> None:
    assert splits().holds_out(things) is expected


def test_held_out_scenes_can_be_shown_in_every_style(corpus_path: Path) -> None:
    styles = ("noto", "flat")
    config = EmojiScenes.Config(path=corpus_path, styles=styles, split="heldout")
    source = EmojiScenes(config, (16, 16))
    shown = {source.sample(position)["spec"]["style"] for position in range(200)}
    assert shown == {"noto", "flat"}
