"""The decoder: both conditions dropped as the paper does, and a learned variance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from unclip.errors import UsageError
from unclip.rng import BatchRng, Rng
from unclip.types import Cond


@pytest.fixture
def cond(make_cond: Callable[..., Cond]) -> Cond:
    return make_cond(3)


def network(stage: Any, **changes: Any) -> dict[str, Any]:
    return {**stage.config.network.dump(), **changes}


@pytest.mark.parametrize("dropped", ["text", "image", "both", "none"])
def test_conditions_are_dropped_as_configured(
    dropped: str, make_stage: Callable[..., Any], cond: Cond
) -> None:
    text, image = dropped in ("text", "both"), dropped in ("image", "both")
    stage = make_stage("decoder", drop_text=float(text), drop_image=float(image))

    def loss(cond: Cond) -> Tensor:
        value: Tensor = stage.loss(cond, BatchRng(0, 3))[0]
        return value

    other_text = cond.replace(text_tokens=cond.text_tokens.flip(1))  # type: ignore[union-attr]
    other_image = cond.replace(image_embed=-cond.image_embed)  # type: ignore[operator]
    assert torch.allclose(loss(cond), loss(other_text), atol=1e-6) == text
    assert torch.allclose(loss(cond), loss(other_image), atol=1e-6) == image


def test_guidance_drops_both(make_stage: Callable[..., Any], cond: Cond) -> None:
    stage = make_stage("decoder", sampling={"guidance_scale": 0.0, "steps": 2})
    none = torch.zeros(3, dtype=torch.bool)
    dropped = cond.replace(keep_text=none, keep_image=none)
    unguided = stage.sample(dropped, Rng([0, 1, 2]), {"guidance_scale": 1.0}).image
    assert torch.allclose(stage.sample(cond, Rng([0, 1, 2])).image, unguided, atol=1e-5)
    assert not torch.allclose(
        stage.sample(cond, Rng([0, 1, 2]), {"guidance_scale": 1.0}).image, unguided, atol=1e-2
    )


def test_pictures_stay_in_range(make_stage: Callable[..., Any], cond: Cond) -> None:
    stage = make_stage("decoder", sampling={"guidance_scale": 30.0, "steps": 3})
    image = stage.sample(cond, Rng([0, 1, 2])).image
    assert image.shape == (3, 3, 8, 8)
    assert float(image.abs().max()) <= 1


@pytest.mark.parametrize(
    ("threshold", "limit", "most"),
    [("none", 1.0, 99.0), ("clamp", 0.3, 0.3), ("dynamic", 0.4, 0.4)],
)
def test_the_guess_of_every_step_is_thresholded(
    threshold: str, limit: float, most: float, make_stage: Callable[..., Any], cond: Cond
) -> None:
    stage = make_stage("decoder", sampling={"guidance_scale": 9.0, "steps": 4})
    largest: list[float] = []
    stage.sample(
        cond,
        Rng([0, 1, 2]),
        {"threshold": threshold, "limit": limit},
        lambda step: largest.append(float(step.x0.abs().max())),
    )
    assert max(largest) <= most + 1e-6
    assert max(largest) > (2.0 if threshold == "none" else 0.9 * limit)


def test_a_learned_variance_needs_twice_the_channels(make_stage: Callable[..., Any]) -> None:
    plain = make_stage("decoder")
    for channels, learned, want in ((3, True, 6), (6, False, 3)):
        with pytest.raises(UsageError, match=f"decoder: network.out_channels must be {want}"):
            make_stage(
                "decoder",
                network=network(plain, out_channels=channels),
                parameterization={"kind": "eps", "learned_variance": learned},
            )


def test_a_learned_variance_samples_and_trains(make_stage: Callable[..., Any], cond: Cond) -> None:
    stage = make_stage(
        "decoder",
        network=network(make_stage("decoder"), out_channels=6),
        parameterization={"kind": "eps", "learned_variance": True},
        sampling={"sampler": "ddpm", "eta": 1.0, "steps": 3, "guidance_scale": 2.0},
    )
    image = stage.sample(cond, Rng([0, 1, 2])).image
    assert image.shape == (3, 3, 8, 8)
    assert image.isfinite().all()
    loss, metrics = stage.loss(cond, BatchRng(0, 3))
    assert set(metrics) == {"mse", "vlb"}
    assert torch.allclose(loss, metrics["mse"] + metrics["vlb"])


def test_dynamic_thresholding_is_a_setting(make_stage: Callable[..., Any], cond: Cond) -> None:
    stage = make_stage("decoder", sampling={"guidance_scale": 30.0, "steps": 3})

    def spread(threshold: str) -> float:
        image: Tensor = stage.sample(cond, Rng([0, 1, 2]), {"threshold": threshold}).image
        return float((image.abs() > 0.999).float().mean())

    assert spread("dynamic") < spread("clamp") / 2, "saturation is what it is there to prevent"
