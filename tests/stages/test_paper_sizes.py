"""The preset `dalle2` has the paper's sizes (arXiv 2204.06125, table 3)."""

from __future__ import annotations

import pytest
import torch

from unclip.nn.layers import parameter_count
from unclip.nn.unet import AttentionBlock
from unclip.stages import STAGES, DiffusionStage, Stage
from unclip.train.recipe import Recipe, load_recipe

TABLE = {"prior": 1.0e9, "decoder": 3.5e9, "upsampler": 700e6, "upsampler_1024": 300e6}
TOLERANCE = {"upsampler_1024": 0.06}  # the table's own channels and depth give 283M


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("dalle2")


def build(recipe: Recipe, name: str) -> Stage:
    config = recipe.stage(name).config
    with torch.device("meta"):
        return STAGES[config.kind](config)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", TABLE)
def test_parameters(name: str, recipe: Recipe) -> None:
    count = parameter_count(build(recipe, name))
    assert count == pytest.approx(TABLE[name], rel=TOLERANCE.get(name, 0.03)), f"{count / 1e6:.0f}M"


def test_schedules_steps_and_attention(recipe: Recipe) -> None:
    schedules, steps = {}, {}
    for name in TABLE:
        stage = build(recipe, name)
        assert isinstance(stage, DiffusionStage)
        config = stage.config
        schedules[name] = (config.schedule.kind, config.schedule.steps)  # type: ignore[union-attr]
        steps[name] = config.sampling.steps
        attends = any(isinstance(module, AttentionBlock) for module in stage.modules())
        assert attends == (name == "decoder")
    linear = {"upsampler_1024": ("linear", 1000)}
    assert schedules == dict.fromkeys(TABLE, ("cosine", 1000)) | linear
    assert steps == {"prior": 64, "decoder": 250, "upsampler": 27, "upsampler_1024": 15}


def test_training(recipe: Recipe) -> None:
    trains = [recipe.trained[name] for name in TABLE]
    assert [t.batch_size for t in trains] == [4096, 2048, 1024, 512]
    assert [t.steps for t in trains] == [600_000, 800_000, 1_000_000, 1_000_000]
    assert [t.learning_rate for t in trains] == [1.1e-4, 1.2e-4, 1.2e-4, 1.0e-4]
    assert [t.betas[1] for t in trains] == [0.96, 0.999, 0.999, 0.999]
    assert [t.ema for t in trains] == [0.9999] * 4
    assert trains[0].weight_decay == 0.06


def test_the_decoder_is_the_papers(recipe: Recipe) -> None:
    config = recipe.stage("decoder").config
    assert config.parameterization.learned_variance  # type: ignore[attr-defined]
    assert config.parameterization.kind == "eps"  # type: ignore[attr-defined]
    assert (config.drop_text, config.drop_image) == (0.5, 0.1)  # type: ignore[attr-defined]
    assert recipe.stage("prior").config.drop_text == 0.1  # type: ignore[attr-defined]
    assert recipe.stage("prior").config.candidates == 2  # type: ignore[attr-defined]
