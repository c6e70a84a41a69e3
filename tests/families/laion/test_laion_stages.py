"""LAION's stages beyond what every stage keeps: unit guesses, the noise of a small picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from unclip.families.laion.laion_prior import LaionPrior
from unclip.families.laion.laion_upsampler import LaionUpsampler, LaionUpsamplerConfig
from unclip.rng import Rng
from unclip.stages.stage import Stage
from unclip.types import Cond


def test_each_guess_can_be_made_a_unit_vector(
    make_stage: Callable[..., Stage], make_cond: Callable[..., Cond]
) -> None:
    for unit in (True, False):
        stage = make_stage("laion_prior", unit=unit)
        assert isinstance(stage, LaionPrior)
        guesses: list[torch.Tensor] = []
        stage.sample(make_cond(2), Rng([1, 2]), on_step=lambda s, g=guesses: g.append(s.x0))  # type: ignore[misc]
        lengths = torch.stack([stage.space.decode(x0).norm(dim=-1) for x0 in guesses])
        assert torch.allclose(lengths, torch.ones(()), atol=1e-5) == unit


def test_an_embedding_comes_out_as_long_as_it_was_drawn(
    make_stage: Callable[..., Stage], make_cond: Callable[..., Cond]
) -> None:
    free = make_stage("laion_prior").sample(make_cond(2), Rng([1, 2])).image_embed
    space = {"kind": "embedding", "scale": 1.0, "normalize": True}
    unit = make_stage("laion_prior", space=space).sample(make_cond(2), Rng([1, 2])).image_embed
    assert free is not None and unit is not None
    assert torch.allclose(unit.norm(dim=-1), torch.ones(()), atol=1e-5)
    assert not torch.allclose(free.norm(dim=-1), torch.ones(()), atol=1e-2)


def test_guidance_changes_nothing_in_the_old_dialect(
    make_stage: Callable[..., Stage], make_cond: Callable[..., Cond]
) -> None:
    for dialect, same in (("1.1.0", True), ("1.15.6", False)):
        network: dict[str, Any] = {
            **make_stage("laion_prior").config.network.dump(),  # type: ignore[attr-defined]
            "dialect": dialect,
        }
        stage = make_stage("laion_prior", network=network)
        a, b = (
            stage.sample(make_cond(2), Rng([1, 2]), {"guidance_scale": scale}).image_embed
            for scale in (1.0, 3.0)
        )
        assert a is not None and b is not None
        assert torch.allclose(a, b, atol=1e-5) == same


def test_the_small_picture_is_noised_by_the_level_of_its_schedule(
    make_stage: Callable[..., Stage],
) -> None:
    stage = make_stage("laion_upsampler")
    assert isinstance(stage, LaionUpsampler)
    schedule = stage.config.noise_schedule
    for steps in (0, 200, 290, 999):
        level = torch.full((2000,), steps / 1000)
        noised = stage.shown(torch.ones(2000, 3, 1, 1), level, Rng(list(range(2000))))[..., :1, :1]
        bar = float(schedule.alpha_bar()[steps])
        assert float(noised.mean()) == pytest.approx(bar**0.5, abs=0.05)
        assert float(noised.std()) == pytest.approx((1 - bar) ** 0.5, abs=0.05)


def test_without_noise_the_small_picture_is_shown_as_it_is(
    make_stage: Callable[..., Stage],
) -> None:
    network = {**make_stage("laion_upsampler").config.network.dump(), "low_res_noise": False}  # type: ignore[attr-defined]
    stage = make_stage("laion_upsampler", network=network)
    assert isinstance(stage, LaionUpsampler)
    image = torch.randn(2, 3, 16, 16)
    seen = stage.condition_for(Cond(), image)
    assert seen.image is not None and seen.low_res is not None
    assert torch.equal(seen.low_res[:, :, ::2, ::2], seen.image)
    shown = stage.shown(seen.image, torch.full((2,), 0.5), Rng([0, 1]))
    assert torch.equal(shown, seen.low_res)


def test_an_upsampler_may_take_other_sizes(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage("laion_upsampler")
    out = stage.sample(Cond(image=torch.rand(1, 3, 4, 12)), Rng([1])).image
    assert out is not None
    assert out.shape == (1, 3, 8, 24)


def test_an_upsampler_that_sees_nothing_is_refused(make_stage: Callable[..., Stage]) -> None:
    config = make_stage("laion_upsampler").config.dump()  # type: ignore[attr-defined]
    blind = {**config, "network": {**config["network"], "low_res": False}}
    for bad, message in (
        (blind, "low_res is off"),
        ({**config, "low_res_size": 5}, "not a multiple"),
    ):
        with pytest.raises(ValidationError, match=message):
            LaionUpsamplerConfig(**bad)
