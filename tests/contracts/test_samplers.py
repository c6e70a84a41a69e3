"""What every sampler keeps, judged by data whose exact denoiser is known.

A new function in `diffusion/samplers/` is tested by existing.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from unclip.diffusion.samplers import ABOUT, SAMPLERS, ddim
from unclip.diffusion.schedule import Cosine, Edm, Linear, Schedule
from unclip.errors import Cancelled, UsageError
from unclip.rng import BatchRng, Rng
from unclip.types import Denoiser, Level, Prediction

EVERY = pytest.mark.parametrize("name", SAMPLERS)
SCHEDULE = pytest.mark.parametrize(
    "schedule", [Cosine(), Linear(), Edm()], ids=["cosine", "linear", "edm"]
)
STEPS, DRAWS = 400, 2000


@pytest.fixture
def gaussian(mixture: Any) -> Any:
    """N((0.5, -1), 0.3^2 I)."""
    return mixture(((0.5, -1.0),), (1.0,), 0.3)


def start(levels: list[Level], rng: Rng, width: int = 2) -> torch.Tensor:
    return rng.randn(width) * levels[0].sigma


@EVERY
@SCHEDULE
def test_a_gaussian_is_drawn_with_its_mean_and_spread(
    name: str, schedule: Schedule, gaussian: Any
) -> None:
    rng, levels = BatchRng(name, DRAWS), schedule.grid(STEPS)
    drawn = SAMPLERS[name](gaussian.denoise, start(levels, rng), levels, rng)
    assert drawn.mean(0).tolist() == pytest.approx([0.5, -1.0], abs=0.03)
    assert drawn.std(0).tolist() == pytest.approx([0.3, 0.3], rel=0.05)
    assert abs(float(torch.corrcoef(drawn.T)[0, 1])) < 0.06


@EVERY
@SCHEDULE
def test_a_mixture_keeps_its_modes_and_their_shares(
    name: str, schedule: Schedule, mixture: Any
) -> None:
    data = mixture(((-1.0,), (1.0,)), (0.3, 0.7), 0.2)
    rng, levels = BatchRng(name, DRAWS), schedule.grid(STEPS // 2)
    drawn = SAMPLERS[name](data.denoise, start(levels, rng, 1), levels, rng)[:, 0]
    left, right = drawn[drawn < 0], drawn[drawn > 0]
    assert len(left) / DRAWS == pytest.approx(0.3, abs=0.03)
    assert float(left.mean()) == pytest.approx(-1, abs=0.03)
    assert float(right.mean()) == pytest.approx(1, abs=0.03)
    assert float(left.std()) == pytest.approx(0.2, rel=0.12)
    assert float(right.std()) == pytest.approx(0.2, rel=0.12)


@EVERY
def test_a_sample_does_not_depend_on_its_batch(name: str, gaussian: Any) -> None:
    levels = Cosine().grid(5)

    def draw(seeds: list[int]) -> torch.Tensor:
        rng = Rng(seeds)
        return SAMPLERS[name](gaussian.denoise, start(levels, rng), levels, rng, eta=0.7)

    assert torch.allclose(draw([1, 2, 3])[1], draw([2])[0], atol=1e-6)
    assert torch.equal(draw([2]), draw([2]))
    assert not torch.equal(draw([2]), draw([3]))


@EVERY
def test_one_step_gives_the_denoisers_own_guess(name: str, gaussian: Any) -> None:
    """From pure noise, the best guess of x0 is the mean of the data."""
    levels = Cosine().grid(1)
    drawn = SAMPLERS[name](gaussian.denoise, torch.ones(1, 2), levels, Rng([0]))
    assert torch.allclose(drawn, gaussian.denoise(torch.ones(1, 2), levels[0]).x0, atol=1e-6)
    assert drawn[0].tolist() == pytest.approx([0.5, -1.0], abs=1e-3)


@EVERY
def test_on_step_hears_every_step_and_the_clean_guess(name: str, gaussian: Any) -> None:
    heard: list[tuple[int, int, torch.Size]] = []
    last: list[torch.Tensor] = []

    def on_step(index: int, total: int, x0: torch.Tensor) -> None:
        heard.append((index, total, x0.shape))
        last.append(x0)

    rng, levels = Rng([0, 1]), Cosine().grid(7)
    drawn = SAMPLERS[name](gaussian.denoise, start(levels, rng), levels, rng, on_step)
    assert heard == [(i, 7, torch.Size([2, 2])) for i in range(1, 8)]
    assert torch.allclose(last[-1], drawn, atol=0.05)


@EVERY
def test_an_exception_in_on_step_ends_the_work_at_once(name: str, gaussian: Any) -> None:
    calls: list[float] = []

    def denoise(x: torch.Tensor, level: Level) -> Prediction:
        calls.append(float(level.t))
        return gaussian.denoise(x, level)  # type: ignore[no-any-return]

    def on_step(index: int, total: int, x0: torch.Tensor) -> None:
        if index == 2:
            raise Cancelled("enough")

    levels = Cosine().grid(50)
    with pytest.raises(Cancelled, match="enough"):
        SAMPLERS[name](denoise, torch.ones(1, 2), levels, Rng([0]), on_step)
    assert len(calls) < 8


@EVERY
def test_the_start_is_left_alone(name: str, gaussian: Any) -> None:
    x, levels = torch.ones(1, 2), Cosine().grid(3)
    SAMPLERS[name](gaussian.denoise, x, levels, Rng([0]))
    assert torch.equal(x, torch.ones(1, 2))


@EVERY
def test_pictures_and_a_learned_variance_are_welcome(name: str) -> None:
    def denoise(x: torch.Tensor, level: Level) -> Prediction:
        return Prediction(0 * x + 0.25, (x - level.alpha * 0.25) / level.sigma, 0 * x + 0.5)

    rng, levels = Rng([3, 4]), Cosine().grid(4)
    fine: Denoiser = denoise
    drawn = SAMPLERS[name](fine, rng.randn(3, 4, 4), levels, rng)
    assert torch.allclose(drawn, torch.full((2, 3, 4, 4), 0.25), atol=1e-3)


@EVERY
@SCHEDULE
@pytest.mark.parametrize("steps", [6, 10])
def test_few_steps_stay_near_the_data(
    name: str, schedule: Schedule, steps: int, mixture: Any
) -> None:
    """However unevenly the levels lie, no sampler is much worse than DDIM."""
    share = (torch.arange(2000) + 0.5) / 2000
    start = torch.special.ndtri(share)[:, None]  # every quantile of the noise once
    mode = torch.where(share < 0.3, share / 0.3, (share - 0.3) / 0.7)
    truth = torch.where(share < 0.3, -1.0, 1.0) + 0.2 * torch.special.ndtri(mode)
    data, levels = mixture(((-1.0,), (1.0,)), (0.3, 0.7), 0.2), schedule.grid(steps)

    def error(name: str) -> float:
        x, rng = start * levels[0].sigma, BatchRng(0, 2000)
        drawn = SAMPLERS[name](data.denoise, x, levels, rng)[:, 0].sort().values
        return float((drawn - truth).abs().mean())

    assert error(name) < 2.5 * error("ddim")


@EVERY
def test_pure_noise_is_a_level_too(name: str, gaussian: Any) -> None:
    """alpha 0, where log-SNR is minus infinity (zero terminal SNR, arXiv 2305.08891)."""
    t = torch.zeros(())
    noise = Level(t, torch.tensor(0.0), torch.tensor(1.0))
    levels, rng = [noise, *Linear().grid(60)[5:]], BatchRng(0, 4000)
    drawn = SAMPLERS[name](gaussian.denoise, rng.randn(2), levels, rng)
    assert drawn.mean(0).tolist() == pytest.approx([0.5, -1.0], abs=0.04)
    assert drawn.std(0).tolist() == pytest.approx([0.3, 0.3], rel=0.17)


@EVERY
def test_without_eta_all_noise_is_in_the_start(name: str, gaussian: Any) -> None:
    levels, rng = Cosine().grid(6), Rng([5, 6])
    x = torch.linspace(-1, 1, 4).view(2, 2)
    one = SAMPLERS[name](gaussian.denoise, x, levels, Rng([1, 2]), eta=0.0)
    assert torch.equal(one, SAMPLERS[name](gaussian.denoise, x, levels, rng, eta=0.0))
    assert not torch.equal(one, SAMPLERS[name](gaussian.denoise, x, levels, rng, eta=1.0))


@EVERY
def test_rising_levels_invert_or_say_why_not(name: str, gaussian: Any) -> None:
    """From clean data to noise: where the ODE comes from, as DDIM with many steps finds it."""
    levels = Linear().grid(150)
    data, rng = torch.tensor([[0.2, -1.1], [0.9, -0.7]]), Rng([0, 1])
    with pytest.raises(UsageError, match=f"{name} (cannot invert|inverts .* only without noise)"):
        SAMPLERS[name](gaussian.denoise, data, levels[::-1], rng, eta=0.5)
    if name in ("ddpm", "analytic_dpm"):
        with pytest.raises(UsageError, match="cannot invert: it averages over noise; use ddim"):
            SAMPLERS[name](gaussian.denoise, data, levels[::-1], rng, eta=0.0)
        return
    latent = SAMPLERS[name](gaussian.denoise, data, levels[::-1], rng, eta=0.0)
    assert torch.allclose(latent, (data - torch.tensor([0.5, -1.0])) / 0.3, atol=0.15)
    back = SAMPLERS[name](gaussian.denoise, latent, levels, rng, eta=0.0)
    assert torch.allclose(back, data, atol=0.03)


def smooth(steps: int) -> list[Level]:
    """Levels in float64 along a cosine, far from both ends."""
    angle = torch.linspace(0.9, 0.2, steps + 1, dtype=torch.float64) * math.pi / 2
    return [Level(*one) for one in zip(angle, angle.cos(), angle.sin(), strict=True)]


@EVERY
def test_it_converges_at_its_order_and_calls_the_network_as_often_as_it_says(name: str) -> None:
    """To the ODE's solution for a Gaussian: its quantiles stay quantiles."""
    about, mean, std = ABOUT[name], 0.7, 0.4

    def spread(level: Level) -> torch.Tensor:
        return ((level.alpha * std) ** 2 + level.sigma**2).sqrt()

    errors, calls = [], 0

    def denoise(x: torch.Tensor, level: Level) -> Prediction:
        nonlocal calls
        calls += 1
        off = (x - level.alpha * mean) / spread(level) ** 2
        return Prediction(mean + level.alpha * std**2 * off, level.sigma * off)

    for steps in (128, 256):
        levels, calls = smooth(steps), 0
        first, last = levels[0], levels[-1]
        x = first.alpha * mean + spread(first) * torch.tensor([[-2.0], [1.0]], dtype=torch.float64)
        wanted = last.alpha * mean + (x - first.alpha * mean) / spread(first) * spread(last)
        drawn = SAMPLERS[name](denoise, x, levels, Rng([0, 1]), eta=0.0)
        errors.append(float((drawn - wanted).abs().max()))
        assert abs(calls - about.calls * steps) <= 1  # PNDM's first step takes one more
    if name not in ("ddpm", "analytic_dpm"):  # without noise these are the posterior's mean alone
        assert math.log2(errors[0] / errors[1]) == pytest.approx(about.order, abs=0.2)


@EVERY
def test_it_is_deterministic_where_its_eta_is_0(name: str, gaussian: Any) -> None:
    levels = Cosine().grid(6)
    one, other = (
        SAMPLERS[name](gaussian.denoise, torch.ones(1, 2), levels, Rng([s])) for s in "ab"
    )
    assert torch.equal(one, other) == (ABOUT[name].eta == 0)


def test_an_unknown_sampler_names_the_nearest() -> None:
    assert SAMPLERS["ddim"] is ddim
    with pytest.raises(UsageError, match=r"unknown sampler 'dddim' \(did you mean 'ddim'\?\)"):
        SAMPLERS["dddim"]
