"""The public pipeline: every ability is a method, and what it refuses can be changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from unclip import Pipeline, load
from unclip.abilities import ABILITIES
from unclip.cost import Policy
from unclip.errors import UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.pipeline import Chain
from unclip.stages import Stage
from unclip.stages.model import Model


@pytest.fixture
def model(make_stage: Callable[[str], Stage], tokenizer: Tokenizer) -> Model:
    return Model(tokenizer, {"clip": make_stage("clip"), "decoder": make_stage("decoder")}, "two")


def test_every_ability_is_a_method_and_the_chain_below_knows_of_none(model: Model) -> None:
    methods = {ABILITIES[name].function.__name__ for name in ABILITIES.names()}
    assert len(methods) == 10
    assert methods <= set(vars(Pipeline)) and not methods & set(dir(Chain))


def test_what_is_refused_can_be_changed_for_one_pipeline_alone(model: Model) -> None:
    strict = Policy(limit=5)
    one, other = Pipeline(model, policy=strict), Pipeline(model, policy=strict)
    with pytest.raises(UsageError, match="the limit is 5 steps"):
        one.generate("a fox", steps=6, prior="none")
    one.limit, one.strict_words = None, True
    one.on_cost = pytest.fail
    assert one.policy == Policy(None, True, pytest.fail)
    assert (one.limit, one.strict_words, one.on_cost) == (None, True, pytest.fail)
    assert (other.limit, other.strict_words, other.on_cost) == (5, False, None)
    with pytest.raises(FrozenInstanceError):
        one.policy.limit = 7  # type: ignore[misc]


def test_what_the_model_says_is_said_by_the_pipeline_too(model: Model) -> None:
    pipe = Pipeline(model)
    assert pipe.side == max(model.size)
    assert pipe.priors == model.priors == []
    assert pipe.vocabulary is model.vocabulary


def test_with_other_stages_all_else_stays(model: Model) -> None:
    pipe = Pipeline(model, policy=Policy(limit=3))
    short = pipe.with_stages({"decoder": pipe.stages["decoder"]})
    assert type(short) is Pipeline and short.policy is pipe.policy and short.name == "two"
    assert list(short.stages) == list(short.model.stages) == ["decoder"]
    assert list(pipe.stages) == ["clip", "decoder"]
    with pytest.raises(UsageError, match="model 'two' has no CLIP, which a test needs; train one"):
        short.model.clip("a test")


def test_a_pipeline_says_what_it_is_without_reading_weights(
    model: Model, tmp_path: Path, save_model: Callable[..., object], tokenizer: Tokenizer
) -> None:
    assert repr(Pipeline(model)) == "<Pipeline 'two': clip, decoder 8×8; float32 on cpu>"
    save_model(tmp_path / "two", "two", tokenizer, model.stages)
    pipe = load(tmp_path / "two", "cpu", "bfloat16")
    assert repr(pipe) == "<Pipeline 'two': clip, decoder 8×8; bfloat16 on cpu>"
    assert all(stage.source is not None for stage in pipe.stages.values())
