"""Recipes: typed, complete, and mistakes found before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from unclip.errors import UsageError
from unclip.stages import STAGES
from unclip.train.recipe import PRESETS, Recipe, TrainConfig, load_recipe


@pytest.mark.parametrize("name", sorted(path.stem for path in PRESETS.glob("*.toml")))
def test_every_preset_is_sound(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert Recipe.parse(recipe.dump()) == recipe
    for stage in recipe.stages:
        assert recipe.train(stage).steps > 0
        assert recipe.stage(stage).kind in STAGES.names()


def test_batch_ramp() -> None:
    config = TrainConfig(batch_size=4, ramp=((10, 8), (20, 16)))
    sizes = [config.batch_at(step) for step in (0, 9, 10, 19, 20, 999)]
    assert sizes == [4, 4, 8, 8, 16, 16]


def test_set_reaches_stage_and_training() -> None:
    recipe = load_recipe(
        "tiny",
        ["stages.prior.train.steps=7", "stages.prior.candidates=5", "name=mine", "seed=3"],
    )
    assert recipe.train("prior").steps == 7
    assert recipe.stage("prior").candidates == 5  # type: ignore[attr-defined]
    assert (recipe.name, recipe.seed) == ("mine", 3)
    assert load_recipe("tiny").train("prior").steps != 7


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("stages.prior.train.stepz=7", r"'stages\.prior\.train\.stepz' \(did you mean 'steps'\?\)"),
        ("stages.prior.candidate=7", r"'stages\.prior\.candidate' \(did you mean 'candidates'\?\)"),
        (
            "stages.decoder.network.chanels=64",
            r"'stages\.decoder\.network\.chanels' \(did you mean 'channels'\?\)",
        ),
        ("sead=1", r"unknown setting 'sead' \(did you mean 'seed'\?\)"),
        ("data.sourse=1", r"unknown setting 'data\.sourse'"),
        ("data.source=shape", r"unknown data source 'shape' \(did you mean 'shapes'\?\)"),
        ("stages.prior.kind=priors", r"unknown stage 'priors' \(did you mean 'prior'\?\)"),
        ("stages.prior.train.steps=0", r"'stages\.prior\.train\.steps' must be at least"),
        ("stages.prior.schedule={kind='cosin'}", r"stages\.prior\.schedule"),
        ("tokenizer.context=2", r"'tokenizer\.context' must be at least 4"),
        (
            "tokenizer.context=16",
            r"'stages\.clip.*\.context' must be tokenizer\.context, 16, got 8",
        ),
        ("stages.prior.network.context=9", r"'stages\.prior.*\.context' must be .* 8, got 9"),
        ("stages.decoder.network.text.vocab_size=300", r"must be at least .*, 320, got 300"),
        ("stages.prior.network.embed_dim=16", r"'stages\.prior.*\.embed_dim' must be CLIP's"),
        ("stages.decoder.network.embed_dim=16", r"'stages\.decoder.*\.embed_dim' must be CLIP's"),
        (
            "prior=decoder",
            r"'prior' must name a stage that makes an image embed.*, got 'decoder'; .* has: prior",
        ),
        ("prior=priro", r"'prior' must name .*, got 'priro' \(did you mean 'prior'\?\)"),
        ("stages.prior.network.text_width=16", r"'stages\.prior.*\.text_width' must be CLIP's"),
    ],
)
def test_mistakes_are_one_line_before_any_work(assignment: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_recipe("tiny", [assignment])
    assert "\n" not in str(caught.value)


def test_a_recipe_may_hold_several_priors_and_names_one() -> None:
    assert load_recipe("tiny").prior is None
    linear = "stages.linear_prior.network.embed_dim=32"
    second = "stages.second={kind='linear_prior', network={embed_dim=32}}"
    recipe = load_recipe("tiny", [linear, second, "prior=second"])
    assert recipe.prior == "second"
    assert recipe.stage("second").kind == recipe.stage("linear_prior").kind == "linear_prior"
    assert Recipe.parse(recipe.dump()) == recipe
    with pytest.raises(UsageError, match=r"'stages\.second.*\.embed_dim' must be CLIP's .* 32"):
        load_recipe("tiny", ["stages.second={kind='linear_prior', network={embed_dim=16}}"])


def test_a_decoder_may_do_without_the_embedding() -> None:
    assert load_recipe("tiny", ["stages.decoder.network.embed_dim=0"]).stage("decoder")


def test_unknown_recipes_and_stages_name_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no recipe 'tiney' \(did you mean 'tiny'\?\); presets:"):
        load_recipe("tiney")
    with pytest.raises(UsageError, match=r"no stage 'decode' \(did you mean 'decoder'\?\)"):
        load_recipe("tiny").stage("decode")


def test_a_file_is_read_and_needs_its_data(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text((PRESETS / "tiny.toml").read_text())
    assert load_recipe(file) == load_recipe("tiny")
    file.write_text('name = "x"\n[data]\npath = "y"\n[stages.clip]\n')
    with pytest.raises(UsageError, match=r"data\.source is missing"):
        load_recipe(file)
