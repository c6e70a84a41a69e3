"""What a model has and lacks, by its stages alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from unclip.errors import UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage
from unclip.stages.model import Model

NAMES = ("clip", "prior", "decoder", "upsampler")


@pytest.fixture(scope="module")
def made(make_stage: Callable[[str], Stage]) -> dict[str, Stage]:
    return {name: make_stage(name) for name in NAMES}


@pytest.fixture
def model(made: dict[str, Stage], tokenizer: Tokenizer) -> Callable[..., Model]:
    def of(*names: str, prior: str | None = None, **more: str) -> Model:
        stages = {name: made[name] for name in names} | {n: made[m] for n, m in more.items()}
        return Model(tokenizer, stages, "mine", prior=prior)

    return of


def test_stages_are_told_apart_by_what_they_produce(model: Callable[..., Model]) -> None:
    whole = model(*NAMES, second="prior")
    assert list(whole.image_stages) == ["decoder", "upsampler"]
    assert whole.priors == ["prior", "second"]
    assert model(*NAMES, prior="second", second="prior").priors == ["second", "prior"]
    assert whole.clip_stage is whole.stages["clip"] and model("decoder").clip_stage is None


def test_sizes_are_those_of_the_last_stage(model: Callable[..., Model]) -> None:
    decoder, upsampler = model(*NAMES).image_stages.values()
    assert decoder.image_size and upsampler.image_size
    factor = upsampler.image_size[0] // decoder.image_size[0]
    assert (model("decoder").size, model("decoder").upscaling) == (decoder.image_size, 1)
    assert (model(*NAMES).size, model(*NAMES).upscaling) == (upsampler.image_size, factor)
    assert model("decoder", first="upsampler", second="upsampler").upscaling == factor**2
    with pytest.raises(UsageError, match="model 'mine' has no stage that makes a picture; train"):
        _ = model("clip", "prior").size


def test_a_setting_belongs_to_the_stage_that_its_name_begins_with(
    model: Callable[..., Model],
) -> None:
    whole = model(*NAMES, prior_x="prior")
    given = {"steps": 2, "prior_steps": 3, "upsampler_eta": 0.5, "prior_x_steps": 4}
    assert whole.by_stage(given) == {
        "decoder": {"steps": 2},
        "prior": {"steps": 3},
        "upsampler": {"eta": 0.5},
        "prior_x": {"steps": 4},
    }
    with pytest.raises(
        UsageError, match=r"unknown setting 'prior_step' \(did you mean 'prior_steps'"
    ):
        whole.by_stage({"prior_step": 3})
    with pytest.raises(UsageError, match="setting 'upsampler_steps' must be at least 1, got 0"):
        whole.by_stage({"upsampler_steps": 0})
    with pytest.raises(UsageError, match="unknown setting 'steps'"):
        model("clip").by_stage({"steps": 3})
    assert model("prior").by_stage({"steps": 3}) == {"prior": {"steps": 3}}, "the last that samples"


@pytest.fixture
def two(tokenizer: Tokenizer, make_stage: Callable[..., Any]) -> Model:
    """A model with a decoder and a student of it, which draws."""
    student = make_stage("decoder", objective="consistency", sampling={"steps": 2})
    stages = {"decoder": make_stage("decoder"), "turbo": student, "up": make_stage("upsampler")}
    return Model(tokenizer, stages, "two", decoder="turbo")


def test_of_several_decoders_one_draws(two: Model) -> None:
    assert two.decoders == ["turbo", "decoder"]
    assert list(two.image_stages) == ["turbo", "up"]
    assert two.by_stage({"steps": 1, "decoder_steps": 3, "up_steps": 2}) == {
        "turbo": {"steps": 1},
        "decoder": {"steps": 3},
        "up": {"steps": 2},
    }
    (line,) = two.unused({"decoder_steps": 7}, ["turbo", "up"])
    assert "to use it, give --decoder decoder (in Python decoder='decoder')" in line


def test_another_decoder_is_chosen_by_name(two: Model) -> None:
    other = two.with_decoder("decoder")
    assert list(other.image_stages) == ["decoder", "up"]
    assert other.by_stage({"steps": 1}) == {"decoder": {"steps": 1}}
    assert two.with_decoder(None) is two
    with pytest.raises(UsageError, match=r"no decoder 'turb'.*did you mean 'turbo'.*turbo, decod"):
        two.with_decoder("turb")


def test_the_fast_decoder_is_the_student(two: Model) -> None:
    assert two.with_decoder("decoder").with_decoder("fast").decoders[0] == "turbo"
    del two.stages["turbo"]
    with pytest.raises(UsageError, match=r"no decoder that is distilled .* --teacher MODEL"):
        two.with_decoder("fast")
    two.stages["fast"] = two.stages["decoder"]
    assert two.with_decoder("fast").decoder == "fast", "a stage of that name comes first"


def test_what_is_inverted_is_no_student(two: Model) -> None:
    assert two.inverting().decoders[0] == "decoder"
    del two.stages["decoder"]
    assert two.inverting() is two
