"""Upscaling: any size, exactly enlarged."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from PIL import Image

from unclip import Pipeline
from unclip.errors import SettingWarning, UsageError
from unclip.media import digest, to_pictures, to_tensor
from unclip.record import Record
from unclip.rng import Rng
from unclip.stages import Stage
from unclip.stages.model import Model
from unclip.types import Cond

Noise = Callable[..., Image.Image]
Off = Callable[[Image.Image, Image.Image], int]


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (13, 7), (31, 16), (5, 40)])
def test_any_size_comes_out_exactly_twice_as_large(
    size: tuple[int, int], pipe: Pipeline, noise: Noise
) -> None:
    (large,) = pipe.upscale(noise(*size), upsampler_steps=1)
    assert large.size == (2 * size[0], 2 * size[1])


def test_it_is_what_the_upsampler_makes_of_it(pipe: Pipeline, noise: Noise, off: Off) -> None:
    (large,) = pipe.upscale(noise(8, 16), seed=5, upsampler_steps=2)
    cond = Cond(image=to_tensor([noise(8, 16)]))
    image = pipe.stages["upsampler"].sample(cond, Rng(["5/upsampler"]), {"steps": 2}).image
    assert image is not None
    assert off(large, to_pictures(image)[0]) <= 1


def test_reduced_again_it_is_near_the_picture(pipe: Pipeline) -> None:
    (small,) = pipe.generate("a blue square", seed=1)
    (large,) = pipe.upscale(small)
    reduced = torch.nn.functional.avg_pool2d(to_tensor([large]), 2)
    pair = torch.stack([reduced.flatten(), to_tensor([small]).flatten()])
    assert float(torch.corrcoef(pair)[0, 1]) > 0.6


def test_a_seed_is_its_own_whatever_n_is(pipe: Pipeline, noise: Noise, off: Off) -> None:
    many = pipe.upscale(noise(8, 8), n=3, seed=5, upsampler_steps=2)
    for index, one in enumerate(many):
        (alone,) = pipe.upscale(noise(8, 8), seed=5 + index, upsampler_steps=2)
        assert off(one, alone) <= 1
        assert Record.of(one) == Record.of(alone)
    assert many[0].tobytes() != many[1].tobytes()
    record = Record.of(many[1])
    assert (record.ability, record.seed) == ("upscale", 6)
    assert record.inputs == {"image": digest(noise(8, 8))}


def test_several_upsamplers_enlarge_one_after_the_other(pipe: Pipeline, noise: Noise) -> None:
    first = pipe.stages["upsampler"]
    model = Pipeline(Model(pipe.tokenizer, {"first": first, "second": first}, "two"))
    (large,) = model.upscale(noise(9, 5), first_steps=1, second_steps=1)
    assert large.size == (36, 20)


def test_a_network_that_sees_a_little_way_draws_what_is_too_long_for_others(
    pipe: Pipeline, make_stage: Callable[..., Stage]
) -> None:
    network = {**make_stage("upsampler").config.network.dump(), "norm": "layer"}
    local = make_stage("upsampler", network=network)
    able = Pipeline(Model(pipe.tokenizer, {"upsampler": local}, "local"))
    (large,) = able.upscale(Image.new("RGB", (1030, 1), "teal"), upsampler_steps=1)
    assert large.size == (2060, 2)
    with pytest.raises(UsageError, match=r"8194 pixels long, 2 times .* 8192 can be drawn: make"):
        able.upscale(Image.new("RGB", (4097, 1)))


def test_bad_requests(pipe: Pipeline, short: Callable[..., Pipeline], noise: Noise) -> None:
    with pytest.raises(UsageError, match=r"2050 pixels long, 2 times its size.*1024 pixels long"):
        pipe.upscale(Image.new("RGB", (1025, 1)))
    with pytest.raises(UsageError, match="model 'short' has no upsampler, which upscaling needs"):
        short("clip", "prior", "decoder").upscale(noise(8, 8))
    with pytest.raises(UsageError, match="n must be at least 1"):
        pipe.upscale(noise(8, 8), n=0)
    with pytest.raises(UsageError, match="unknown setting 'upsampler_stepz'"):
        pipe.upscale(noise(8, 8), upsampler_stepz=1)


def test_several_of_what_sees_no_noise_are_equal_and_that_is_said(
    pipe: Pipeline, make_stage: Callable[..., Stage], noise: Noise
) -> None:
    network = {**make_stage("upsampler").config.network.dump(), "noise_input": False}
    clean = {"parameterization": {"kind": "x0"}, "corruption": {"at_sampling": 0.0}}
    blind = make_stage("upsampler", network=network, **clean)
    able = pipe.with_stages({**pipe.stages, "upsampler": blind})
    with pytest.warns(SettingWarning, match="^n = 2 gives equal pictures: no upsampler of "):
        one, two = able.upscale(noise(8, 8), n=2)
    assert one.tobytes() == two.tobytes()
    assert len(able.upscale(noise(8, 8))) == 1
