"""Wrappers of denoisers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unclip.diffusion.guidance import cfg, clamp, dynamic_threshold, map_x0
from unclip.diffusion.schedule import Cosine
from unclip.types import Denoiser, Level, Prediction

LEVEL = Cosine().level(torch.tensor(400.0))


class Doubled:
    """A denoiser bound to 2B conditions: x0 is 1 in the first half, 3 in the second."""

    def __init__(self, variance: bool = False) -> None:
        self.calls: list[Tensor] = []
        self.variance = variance

    def __call__(self, x: Tensor, level: Level) -> Prediction:
        self.calls.append(x)
        half = len(x) // 2
        x0 = torch.cat([torch.full_like(x[:half], 1.0), torch.full_like(x[half:], 3.0)])
        alpha, sigma = level.like(x)
        return Prediction(x0, (x - alpha * x0) / sigma, x0 / 4 if self.variance else None)


def consistent(prediction: Prediction, x: Tensor, level: Level) -> bool:
    alpha, sigma = level.like(x)
    return torch.allclose(alpha * prediction.x0 + sigma * prediction.eps, x, atol=1e-5)


@pytest.mark.parametrize(("scale", "x0"), [(1.0, 1.0), (0.0, 3.0), (3.0, -3.0), (0.5, 2.0)])
def test_guidance_is_linear_and_one_forward(scale: float, x0: float) -> None:
    denoise, x = Doubled(), torch.randn(4, 2)
    guided = cfg(denoise, scale)(x, LEVEL)
    assert torch.allclose(guided.x0, torch.full((4, 2), x0))
    assert consistent(guided, x, LEVEL)
    assert len(denoise.calls) == 1
    assert torch.equal(denoise.calls[0], torch.cat([x, x]))
    assert guided.variance is None


def test_guidance_mixes_noise_as_it_mixes_x0() -> None:
    x = torch.randn(4, 2)
    halves = Doubled()(torch.cat([x, x]), LEVEL)
    cond, null = halves.eps.chunk(2)
    guided = cfg(Doubled(), 2.5)(x, LEVEL)
    assert torch.allclose(guided.eps, null + 2.5 * (cond - null), atol=1e-5)


def test_a_learned_variance_is_the_conditional_one() -> None:
    guided = cfg(Doubled(variance=True), 5.0)(torch.randn(4, 2), LEVEL)
    assert guided.variance is not None
    assert torch.equal(guided.variance, torch.full((4, 2), 0.25))


@pytest.mark.parametrize("t", [0.0, 3.0, 400.0, 999.0])
def test_map_x0_lets_the_noise_follow(t: float) -> None:
    level, x = Cosine().level(torch.tensor(t)), torch.randn(6, 3)

    def denoise(x: Tensor, level: Level) -> Prediction:
        x0 = 3 * torch.sin(7 * x)
        alpha, sigma = level.like(x)
        return Prediction(x0, (x - alpha * x0) / sigma, torch.zeros_like(x))

    plain = denoise(x, level)
    mapped = map_x0(denoise, clamp(1.0))(x, level)
    assert torch.equal(mapped.x0, plain.x0.clamp(-1, 1))
    assert not torch.equal(mapped.x0, plain.x0)
    alpha, sigma = level.like(x)
    assert torch.allclose(alpha * mapped.x0 + sigma * mapped.eps, x, atol=1e-4)
    assert mapped.variance is not None
    same = map_x0(denoise, lambda x0: x0)(x, level)
    assert torch.equal(same.eps, plain.eps)


def test_map_x0_with_a_level_for_each_sample() -> None:
    level, x = Cosine().level(torch.tensor([10.0, 900.0])), torch.randn(2, 3, 4, 4)
    denoise: Denoiser = lambda x, level: Prediction(2 * x, torch.zeros_like(x))  # noqa: E731
    mapped = map_x0(denoise, torch.zeros_like)(x, level)
    alpha, sigma = level.like(x)
    assert torch.allclose(mapped.eps, alpha / sigma * 2 * x, rtol=1e-5)


def test_clamp() -> None:
    assert clamp(0.5)(torch.tensor([-2.0, 0.2, 9.0])).tolist() == pytest.approx([-0.5, 0.2, 0.5])


def test_dynamic_threshold_divides_by_each_samples_own_quantile() -> None:
    """Imagen, section 2.3."""
    ramp = torch.linspace(-1, 1, 201)  # |x0| at quantile q is about q
    x0 = torch.stack([4 * ramp, 0.5 * ramp]).view(2, 1, 3, 67)
    small = dynamic_threshold(quantile=0.5)(x0)
    assert torch.allclose(small[0].flatten(), (ramp / 0.5).clamp(-1, 1), atol=1e-4)
    assert torch.equal(small[1], x0[1]), "within the floor nothing changes"
    full = dynamic_threshold(quantile=1.0)(x0)
    assert torch.allclose(full[0].flatten(), ramp, atol=1e-5)
    floor = dynamic_threshold(quantile=1.0, floor=2.0)(x0)
    assert torch.allclose(floor[0].flatten(), 2 * ramp, atol=1e-5)
    assert torch.equal(floor[1], x0[1])
