"""Every setting is told of, with what pydantic enforces, and the page in docs/ is what is told."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from unclip.config import override
from unclip.errors import UsageError
from unclip.train.config import TrainConfig
from unclip.train.recipe import DATA_KEYS, Recipe, RecipeSettings, load_recipe
from unclip.train.settings import Section, every_section, markdown, sections_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def every() -> list[Section]:
    return every_section()


def section(every: list[Section], name: str, about: str = "") -> Section:
    (one,) = (one for one in every if one.name == name and about in one.about)
    return one


def test_a_row_says_what_the_field_says(every: list[Section]) -> None:
    rows = {one.key: one for one in section(every, "stages.NAME.train").settings}
    sections = {one.name.rpartition(".")[2] for one in every if ".train." in one.name}
    assert "lora" in sections
    assert rows.keys() == TrainConfig.model_fields.keys() - sections
    assert "rank" in {one.key for one in section(every, "stages.NAME.train.lora").settings}
    rate = rows["learning_rate"]
    assert (rate.type, rate.default, rate.bounds) == ("number", "0.0003", "above 0")
    assert rows["decay"].bounds == "at least 0, at most 1"
    assert rows["betas"].type == "[number, number]"
    assert rows["betas"].bounds == "at least 0, below 1"
    assert rows["optimizer"].type == '"adamw" or "muon"'
    assert rows["optimizer"].default == '"adamw"'
    assert (rows["share"].type, rows["share"].default) == ("number", "none")
    assert all(one.help for one in rows.values()), "every key has its help"


def test_keys_of_the_file_and_of_sources_are_there(every: list[Section]) -> None:
    top = {one.key: one for one in section(every, "").settings}
    sections = {"data", "stages", "tokenizer", "validation"}
    assert top.keys() == RecipeSettings.model_fields.keys() - sections
    assert section(every, "validation").settings
    assert all(one.help for one in top.values())
    assert top["name"].default == "", "which must be given"
    path = {one.key: one for one in section(every, "data", '"folder"').settings}["path"]
    assert (path.type, path.default) == ("path", "")
    assert {one.key for one in section(every, "stages.NAME", '"prior"').settings} >= {"drop_text"}
    nets = [one for one in every if one.name == "stages.NAME.network"]
    assert any("space_to_depth" in {row.key for row in one.settings} for one in nets)


def test_the_keys_of_any_data_are_there_with_the_values_of_a_recipe(every: list[Section]) -> None:
    rows = {one.key: one for one in section(every, "data", "any source").settings}
    assert rows.keys() == {*DATA_KEYS} and all(one.help for one in rows.values())
    assert rows["max_skipped"].default == "0.01" and '"folder"' in rows["source"].type
    recipe = load_recipe("tiny", ["data.max_skipped=0.2", "data.flip=true"])
    (own,) = (one for one in sections_of(recipe) if one.name == "data")
    values = {one.key: one.value for one in own.settings}
    assert values.keys() >= {*DATA_KEYS, "seed"}
    assert (values["source"], values["max_skipped"]) == ('"shapes"', "0.2")
    assert values["flip"] == "true"


def test_a_bound_that_is_told_is_enforced(every: list[Section]) -> None:
    """What is just beyond it is refused: of the training's settings, all of which are told."""
    beyond = {"at least": -1, "above": 0, "at most": 1, "below": 0}
    tried = 0
    for row in section(every, "stages.NAME.train").settings:
        for bound in filter(None, row.bounds.split(", ")):
            word, _, number = bound.rpartition(" ")
            value = float(number) + beyond[word]
            if row.type not in ("number", "whole number"):
                continue
            wrong = int(value) if row.type == "whole number" else value
            with pytest.raises(UsageError, match=row.key):
                TrainConfig.parse({row.key: wrong})
            tried += 1
    assert tried > 10


def test_values_of_a_recipe_are_its_own() -> None:
    recipe = load_recipe("tiny", ["stages.decoder.train.steps=77"])
    told = {one.name: {row.key: row for row in one.settings} for one in sections_of(recipe)}
    assert told["stages.decoder.train"]["steps"].value == "77"
    assert told["stages.decoder.train"]["steps"].default == "1000"
    assert told["stages.decoder.network"]["channels"].value == "32"
    assert told["stages.clip.network.vision"]["image_size"].value == "16"
    assert told["stages.decoder.sampling"]["guidance_scale"].value == "1.5"
    assert told["data"]["seed"].value == "0"
    assert len(told) == len(sections_of(recipe)), "no section comes twice"


def test_every_key_that_is_told_of_a_recipe_can_be_set() -> None:
    """As `--set` takes it, with the very value that is told."""
    recipe = load_recipe("tiny")
    rows = [(one.name, row) for one in sections_of(recipe) for row in one.settings]
    assignments = [
        f"{name}.{row.key}={row.value}" if name else f"{row.key}={row.value}"
        for name, row in rows
        if row.value != "none" and (name, row.key) != ("data", "path")
    ]
    assert len(assignments) > 100
    again = Recipe.parse(override(recipe.dump(), assignments))
    assert again.stages == recipe.stages
    assert again.data == recipe.data


def test_the_page_is_up_to_date(every: list[Section]) -> None:
    spec = importlib.util.spec_from_file_location("page", ROOT / "scripts" / "settings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == module.HEAD + markdown(every), "run: python scripts/settings.py"
