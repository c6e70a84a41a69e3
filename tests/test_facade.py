"""The public pipeline: every ability is a method, and what it refuses can be changed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
import torch

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


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("limit", "x", "^limit must be a number of sampling steps, or None, got 'x'$"),
        ("limit", True, "limit must be a number of sampling steps, or None, got True"),
        ("limit", 2.5, "limit must be a number"),
        ("strict_words", "no", "^strict_words must be True or False, got 'no'$"),
        ("on_cost", 3, "^on_cost must be a function, or None, got 3$"),
        ("policy", None, "^policy must be a Policy, got None; unclip.load makes"),
        ("limits", 5, r"^'limits' of a pipeline cannot be set \(did you mean 'limit'\?\)"),
        ("device", "cuda", "^device must be a device, got 'cuda'; unclip.load makes a pipeline"),
        ("device", torch.device("cuda"), "^'device' of a pipeline cannot be set"),
        ("model", "emoji-cpu", "^model must be a Model, got 'emoji-cpu'; unclip.load makes"),
        ("stages", {}, "cannot be set; what can be set: policy, limit, on_cost, strict_words$"),
        ("priors", [], "'priors' of a pipeline cannot be set"),
        ("generate", None, "'generate' of a pipeline cannot be set"),
    ],
)
def test_nothing_else_can_be_assigned(name: str, value: object, message: str, model: Model) -> None:
    pipe = Pipeline(model)
    before = dict(vars(pipe))
    with pytest.raises(UsageError, match=message):
        setattr(pipe, name, value)
    assert vars(pipe) == before
    other = copy.deepcopy(pipe)
    other.limit = np.int64(7)
    assert (other.limit, pipe.policy) == (7, Policy())


def test_a_pipeline_is_made_of_a_model_and_a_name_is_loaded(model: Model) -> None:
    with pytest.raises(UsageError, match="model must be a Model, got 'emoji-cpu'; unclip"):
        Pipeline("emoji-cpu")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="device must be a device, got 'cpu'; unclip"):
        Pipeline(model, "cpu")  # type: ignore[arg-type]


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
