"""Captions that are almost true: false by exactly one thing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from unclip.emoji import negatives
from unclip.emoji.negatives import OPPOSITE, falsified
from unclip.emoji.source import EmojiScenes


def scenes(path: Path, **settings: Any) -> EmojiScenes:
    return EmojiScenes(
        EmojiScenes.Config.parse({"path": path, "styles": ("noto",), **settings}), (32, 32)
    )


def told(spec: dict[str, Any]) -> dict[str, Any]:
    """What a caption can speak of."""
    things = spec["objects"]
    return {
        "relation": spec["relation"],
        "counts": Counter(thing["noun"] for thing in things),
        "colours": {thing["noun"]: thing["colour"] for thing in things},
        "ground": spec["background"]["colour"] if spec["background"]["said"] else None,
    }


def test_something_is_always_false(corpus_path: Path) -> None:
    source = scenes(corpus_path)
    kinds: Counter[str] = Counter()
    for position in range(400):
        spec, _ = source._compose(position)
        rng = np.random.Generator(np.random.PCG64(position))
        other = falsified(spec, rng, source.corpus)
        assert other is not None
        before, after = told(spec), told(other)
        changed = [name for name in before if before[name] != after[name]]
        assert changed, spec
        kinds[",".join(changed)] += 1
        assert [t["box"] for t in spec["objects"]], "the original is left alone"
    # nouns change counts and colours alike; each other kind comes alone
    for kind in ("relation", "counts", "colours", "ground"):
        assert kinds[kind] >= 10, kinds


def test_a_relation_is_turned_round() -> None:
    assert OPPOSITE["to the left of"] == "to the right of"
    assert OPPOSITE["below"] == "above"
    assert all(OPPOSITE[OPPOSITE[word]] == word for word in OPPOSITE)
    assert "next to" not in OPPOSITE


def test_colours_change_places(corpus_path: Path) -> None:
    source = scenes(corpus_path)
    car = {"noun": "car", "colour": "red", "plural": "cars"}
    cat = {"noun": "cat", "colour": None, "plural": "cats"}
    spec = {"relation": "above", "objects": [car, cat], "background": {"said": False}}
    other = negatives._binding(spec, np.random.default_rng(0), source.corpus)
    assert other is not None
    assert [thing["colour"] for thing in other["objects"]] == [None, "red"]
    alike = {**spec, "objects": [car, {**cat, "colour": "red"}]}
    assert negatives._binding(alike, np.random.default_rng(0), source.corpus) is None


def test_samples_carry_one_where_asked(corpus_path: Path) -> None:
    plain, asked = scenes(corpus_path), scenes(corpus_path, wrong=True)
    for position in range(30):
        sample = asked.sample(position)
        assert sample["caption"] == plain.sample(position)["caption"]
        assert "wrong" not in plain.sample(position)
        assert sample["wrong"] != sample["caption"]
        assert sample["wrong"] == asked.sample(position)["wrong"]
