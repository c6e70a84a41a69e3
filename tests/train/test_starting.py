"""Recipes to begin with are sound, say what was asked for, and keep their comments."""

from __future__ import annotations

from pathlib import Path

import pytest

from unclip.errors import UsageError
from unclip.train.recipe import load_recipe, presets
from unclip.train.starting import HUB, starting_recipe, validated


@pytest.mark.parametrize("name", presets())
def test_a_recipe_from_every_preset_is_that_preset_renamed(name: str) -> None:
    text = starting_recipe(name, Path("my own.toml"), "my photos")
    recipe = validated(text)
    assert recipe is not None
    assert recipe.settings.name == "my own"
    assert recipe.stages == load_recipe(name).stages
    assert text.count("#") > 1
    if "path" in recipe.settings.data:
        assert recipe.settings.data["path"] == "my photos"
    own = validated(starting_recipe(name, Path("my own.toml")))
    assert own is not None
    assert own.settings.data == load_recipe(name).settings.data


@pytest.mark.parametrize("start", [*HUB, "path"])
def test_a_recipe_that_fine_tunes_a_model_takes_all_of_it(start: str, tiny_model: Path) -> None:
    model = str(tiny_model)
    start = model if start == "path" else start
    recipe = validated(starting_recipe(start, Path("mine.toml"), "a folder", model))
    assert recipe is not None
    assert list(recipe.stages) == ["clip", "prior", "decoder", "upsampler"]
    assert set(recipe.trained) == {"prior", "decoder"}
    assert {one.base for one in recipe.stages.values()} == {model}
    assert recipe.settings.data == {"source": "folder", "path": "a folder"}
    assert recipe.shares() == {"prior": 20, "decoder": 80}


@pytest.mark.parametrize("start", HUB)
def test_a_model_on_the_hub_is_not_fetched(start: str) -> None:
    text = starting_recipe(start, Path("mine.toml"), "photos")
    assert f'from = "{HUB[start]}"' in text
    assert validated(text) is None


def test_what_is_neither_preset_nor_model() -> None:
    with pytest.raises(UsageError, match=r"'karlos' .*mean 'karlo'.*tiny, .*turbo, .*karlo, sd"):
        starting_recipe("karlos", Path("mine.toml"), "photos")
    with pytest.raises(UsageError, match="'folder' is a preset"):
        starting_recipe("folder", Path("mine.toml"), "photos", "model")
