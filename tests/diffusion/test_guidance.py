"""Wrappers of denoisers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unclip.diffusion.guidance import (
    cfg,
    cfg_two,
    clamp,
    combine,
    dynamic_threshold,
    hold,
    map_x0,
    score_guided,
    switch,
    within,
)
from unclip.diffusion.samplers import ddim, ddpm
from unclip.diffusion.schedule import Cosine, Edm, Schedule
from unclip.errors import UsageError
from unclip.rng import BatchRng
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


def spread(k: int, factors: tuple[float, ...] = (1.0, 2.0, -3.0)) -> Denoiser:
    """Bound to k·B conditions: x0 of the i-th kind is factors[i] times a ramp."""

    def denoise(x: Tensor, level: Level) -> Prediction:
        ramp = torch.linspace(-1, 2, x.shape[1]).expand(len(x) // k, -1)
        x0 = torch.cat([factor * ramp for factor in factors[:k]])
        alpha, sigma = level.like(x)
        return Prediction(x0, (x - alpha * x0) / sigma)

    return denoise


@given(
    weights=st.lists(st.floats(-5, 5), min_size=1, max_size=3),
    t=st.integers(1, 990),
)
def test_combine_is_a_weighted_sum_of_x0_and_of_eps(weights: list[float], t: int) -> None:
    level, x, k = Cosine().level(torch.tensor(float(t))), torch.ones(2, 5), len(weights)
    every = spread(k)(x.repeat(k, 1), level)
    found = combine(spread(k), weights)(x, level)
    for value, parts in ((found.x0, every.x0), (found.eps, every.eps)):
        expected = sum(w * part for w, part in zip(weights, parts.chunk(k), strict=True))
        assert torch.allclose(value, torch.as_tensor(expected), rtol=1e-4, atol=1e-4)


@given(text=st.floats(0, 8), image=st.floats(0, 8))
def test_two_scales_are_instruct_pix2pixs(text: float, image: float) -> None:
    x = torch.ones(2, 5)
    both, only_image, none = spread(3)(x.repeat(3, 1), LEVEL).x0.chunk(3)
    found = cfg_two(spread(3), text, image)(x, LEVEL)
    expected = none + image * (only_image - none) + text * (both - only_image)
    assert torch.allclose(found.x0, expected, atol=1e-4)
    assert consistent(found, x, LEVEL)


def test_two_equal_scales_are_one() -> None:
    x = torch.ones(2, 5)
    one = cfg(spread(2, (1.0, -3.0)), 4.0)(x, LEVEL)
    two = cfg_two(spread(3, (1.0, 2.0, -3.0)), 4.0, 4.0)(x, LEVEL)
    assert torch.allclose(two.x0, one.x0, atol=1e-5)


def test_three_conditions_go_through_in_one_forward_and_at_their_own_levels() -> None:
    calls: list[tuple[Tensor, Level]] = []

    def denoise(x: Tensor, level: Level) -> Prediction:
        calls.append((x, level))
        return Prediction(x, x, torch.arange(6.0)[:, None].expand(6, 4))

    x, level = torch.randn(2, 4), Cosine().level(torch.tensor([10.0, 900.0]))
    found = cfg_two(denoise, 2.0, 1.5)(x, level)
    ((seen, at),) = calls
    assert torch.equal(seen, torch.cat([x, x, x]))
    assert at.t.tolist() == [10, 900] * 3
    assert torch.equal(at.alpha, level.alpha.repeat(3))
    assert torch.equal(at.sigma, level.sigma.repeat(3))
    assert found.variance is not None
    assert found.variance[:, 0].tolist() == [0, 1], "that of the full condition"


@pytest.mark.parametrize("rescale", [0.0, 0.7, 1.0])
def test_rescaling_brings_the_conditions_own_contrast_back(rescale: float) -> None:
    """arXiv 2305.08891, eq. 15 and 16, for each sample."""

    def denoise(x: Tensor, level: Level) -> Prediction:
        x0 = torch.stack([f * torch.linspace(-1, 1.5, 6).view(2, 3) for f in (1, 0.3, -0.5, 0.2)])
        alpha, sigma = level.like(x)
        return Prediction(x0, (x - alpha * x0) / sigma)

    x = torch.randn(2, 2, 3)
    cond = denoise(torch.cat([x, x]), LEVEL).x0[:2]
    plain, found = cfg(denoise, 4.0)(x, LEVEL), cfg(denoise, 4.0, rescale)(x, LEVEL)
    for i in range(2):
        full = plain.x0[i] * cond[i].std() / plain.x0[i].std()
        expected = rescale * full + (1 - rescale) * plain.x0[i]
        assert torch.allclose(found.x0[i], expected, atol=1e-5)
    assert consistent(found, x, LEVEL)


def test_switch_asks_only_the_one_that_is_on() -> None:
    def says(value: float) -> Denoiser:
        return lambda x, level: Prediction(torch.full_like(x, value), x)

    def never(x: Tensor, level: Level) -> Prediction:
        raise AssertionError

    grid, x = Cosine().grid(10), torch.zeros(1, 1)
    denoise = switch(says(1.0), says(2.0), lambda level: level.t > 500)
    found = [float(denoise(x, level).x0) for level in grid]
    assert found == [1.0] * 5 + [2.0] * 6
    assert float(switch(says(1.0), never, lambda level: torch.tensor(True))(x, grid[0]).x0) == 1
    assert float(switch(never, says(2.0), lambda level: torch.tensor(False))(x, grid[0]).x0) == 2


@given(low=st.floats(0, 1), high=st.floats(0, 1))
def test_an_interval_is_of_the_share_of_noise_on_any_schedule(low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    for level in [*Cosine().grid(12), *Edm().grid(12)]:
        angle = math.atan2(float(level.sigma), float(level.alpha))
        share = math.sin(angle)
        if min(abs(share - low), abs(share - high)) > 1e-6:
            assert within(low, high)(level) == (low < share < high)


def test_the_whole_interval_holds_every_level_and_the_clean_end_is_0() -> None:
    grid = [*Cosine().grid(12), *Edm().grid(12)]
    assert all(within(0.0, 1.0)(level) for level in grid)
    assert [level for level in grid if within(0.0, 0.0)(level)] == [grid[12], grid[25]]


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.4), (-0.1, 0.5), (0.5, 1.1)])
def test_an_impossible_interval_is_an_error(low: float, high: float) -> None:
    with pytest.raises(UsageError, match=f"0 <= low <= high <= 1, got {low} to {high}"):
        within(low, high)


def test_hold_paints_where_the_mask_is_1_and_keeps_the_rest() -> None:
    known, x0 = torch.full((2, 3, 2, 2), 5.0), torch.full((2, 3, 2, 2), -1.0)
    mask = torch.tensor([[1.0, 0.0], [0.5, 1.0]]).view(1, 1, 2, 2)
    expected = torch.tensor([[-1.0, 5.0], [2.0, -1.0]]).expand(2, 3, 2, 2)
    assert torch.equal(hold(known, mask)(x0), expected)


def test_what_is_held_comes_out_as_it_is(mixture: type) -> None:
    data = mixture(((0.0, 0.0),), (1.0,), 1.0)
    known, mask = torch.tensor([[3.0, 9.0]]), torch.tensor([[0.0, 1.0]])
    levels, rng = Cosine().grid(30), BatchRng(0, 2000)
    denoise = map_x0(data.denoise, hold(known, mask))
    drawn = ddpm(denoise, rng.randn(2), levels, rng)
    assert torch.allclose(drawn[:, 0], torch.full((2000,), 3.0), atol=1e-4)
    assert float(drawn[:, 1].mean()) == pytest.approx(0, abs=0.08)
    assert float(drawn[:, 1].std()) == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("quantile", [0.0, 0.37, 0.9, 0.995, 1.0])
def test_the_quantile_is_torchs_and_takes_a_picture_of_any_size(quantile: float) -> None:
    x0 = torch.randn(3, 2, 7, 5) * torch.tensor([9.0, 30.0, 100.0]).view(3, 1, 1, 1)
    size = torch.quantile(x0.flatten(1).abs(), quantile, dim=1).clamp(min=0.01).view(3, 1, 1, 1)
    expected = x0.clamp(-size, size) / size * 0.01
    found = dynamic_threshold(quantile, floor=0.01)(x0)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_a_threshold_takes_pictures_that_torchs_quantile_refuses() -> None:
    x0 = torch.rand(1, 2**24 + 1, generator=torch.Generator().manual_seed(0))
    found = dynamic_threshold(0.5, floor=0.1)(x0)
    assert float((found == found.max()).float().mean()) == pytest.approx(0.5, abs=1e-4)


DATA_STD = pytest.mark.parametrize("data_std", [1.0, 0.4])
SCHEDULE = pytest.mark.parametrize("schedule", [Cosine(), Edm()], ids=["cosine", "edm"])


@DATA_STD
@SCHEDULE
def test_a_linear_score_tilts_a_gaussian_to_its_known_mean(
    data_std: float, schedule: Schedule, mixture: type
) -> None:
    """N(m, s²)·exp(scale·a·x) is N(m + scale·a·s², s²)."""
    data, slope = mixture(((0.3, -0.5),), (1.0,), data_std), torch.tensor([0.2, -0.1])
    denoise = score_guided(data.denoise, lambda x0: x0 @ slope, 5.0, data_std)
    levels, rng = schedule.grid(300), BatchRng(0, 2000)
    start = rng.randn(2) * levels[0].sigma
    with torch.inference_mode():
        plain = ddim(data.denoise, start, levels, rng)
        drawn = ddim(denoise, start, levels, rng)
    shift = 5.0 * slope * data_std**2
    assert torch.allclose((drawn - plain).mean(0), shift, atol=0.02 * data_std)
    assert torch.allclose(drawn.std(0), torch.full((2,), data_std), rtol=0.06)


@SCHEDULE
def test_a_quadratic_score_pulls_a_gaussian_as_far_as_theory_says(
    schedule: Schedule, mixture: type
) -> None:
    """N(0, 1)·exp(−scale/2·(x − c)²) has mean scale·c/(1 + scale); to first order in the scale."""
    data, c = mixture(((0.0,),), (1.0,), 1.0), 2.0
    levels, rng = schedule.grid(200), BatchRng(0, 2000)
    start = rng.randn(1) * levels[0].sigma

    def pull(scale: float) -> float:
        denoise = score_guided(data.denoise, lambda x0: -((x0 - c) ** 2).sum(1) / 2, scale)
        moved = ddim(denoise, start, levels, rng) - ddim(data.denoise, start, levels, rng)
        return float(moved.mean())

    for scale in (0.02, 0.1):
        true = scale * c / (1 + scale)
        assert pull(scale) == pytest.approx(true, rel=0.02 + scale)


@pytest.mark.parametrize("t", [0.0, 500.0, 999.0])
def test_a_score_moves_x0_and_eps_so_that_x_t_stays(t: float) -> None:
    level, x = Cosine().level(torch.tensor(t)), torch.randn(3, 4)
    alpha, sigma = level.like(x)
    guess = torch.randn(3, 4)

    def denoise(x: Tensor, level: Level) -> Prediction:
        return Prediction(guess, x, torch.full_like(x, 0.3))

    target = torch.randn(3, 4)
    score = lambda x0: -((x0 - target) ** 2).sum(1)  # noqa: E731
    found = score_guided(denoise, score, 3.0)(x, level)
    push = 3.0 * 2 * (target - guess)  # the gradient, by hand
    assert torch.allclose(found.x0, guess + sigma**2 * push, atol=1e-5)
    assert torch.allclose(found.eps, x - alpha * sigma * push, atol=1e-5)
    left = alpha * found.x0 + sigma * found.eps
    assert torch.allclose(left, alpha * guess + sigma * x, atol=1e-5)
    assert found.variance is not None
    assert torch.equal(found.variance, torch.full((3, 4), 0.3))


def test_the_gradient_is_each_samples_own_and_not_the_networks() -> None:
    weight = torch.ones(4, requires_grad=True)

    def denoise(x: Tensor, level: Level) -> Prediction:
        assert torch.is_inference_mode_enabled()
        return Prediction(x * weight, x)

    def score(x0: Tensor) -> Tensor:
        assert not torch.is_inference_mode_enabled()
        assert not x0.is_inference()
        return torch.nn.functional.cosine_similarity(x0, weight[None] * 2)

    def likeness(x0: Tensor) -> Tensor:
        return torch.nn.functional.cosine_similarity(x0, weight[None])

    guided = score_guided(denoise, score, 0.1)
    with torch.inference_mode():
        x = torch.randn(3, 4)
        every = guided(x, LEVEL)
        assert torch.allclose(guided(x[1:2], LEVEL).x0, every.x0[1:2], atol=1e-6)
        assert torch.equal(score_guided(denoise, score, 0.0)(x, LEVEL).x0, x * weight)
        assert (likeness(every.x0) > likeness(x)).all()
    assert weight.grad is None
