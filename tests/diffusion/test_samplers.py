"""DDIM and DDPM against what their papers prove. What every sampler keeps is in contracts/."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from unclip.diffusion.samplers import ddim, ddpm, posterior
from unclip.diffusion.schedule import Cosine, Edm, Schedule
from unclip.rng import Rng
from unclip.types import Level, Prediction

MEAN, STD = 0.7, 0.4
SCHEDULE = pytest.mark.parametrize("schedule", [Cosine(), Edm()], ids=["cosine", "edm"])


@pytest.fixture
def gaussian(mixture: Any) -> Any:
    return mixture(((MEAN,),), (1.0,), STD)


def ode_map(x: Tensor, now: Level, then: Level) -> Tensor:
    """Where the probability-flow ODE carries x: a Gaussian's quantiles stay quantiles."""
    before = ((now.alpha * STD) ** 2 + now.sigma**2).sqrt()
    after = ((then.alpha * STD) ** 2 + then.sigma**2).sqrt()
    return then.alpha * MEAN + (x - now.alpha * MEAN) / before * after


def noisy(levels: list[Level]) -> Tensor:
    """Five quantiles of the noisy data, (5, 1)."""
    wide = ((levels[0].alpha * STD) ** 2 + levels[0].sigma ** 2).sqrt()
    return levels[0].alpha * MEAN + wide * torch.linspace(-2, 2, 5)[:, None]


@SCHEDULE
def test_ddim_follows_the_ode_and_its_error_falls_at_first_order(
    schedule: Schedule, gaussian: Any
) -> None:
    errors = []
    for steps in (25, 50, 100, 200):
        levels = schedule.grid(steps)
        x = noisy(levels)
        drawn = ddim(gaussian.denoise, x, levels, Rng(range(5)))
        errors.append(float((drawn - ode_map(x, levels[0], levels[-1])).abs().max()))
    ratios = [coarse / fine for coarse, fine in itertools.pairwise(errors)]
    assert all(1.7 < ratio < 2.4 for ratio in ratios), (errors, ratios)
    assert errors[-1] < 0.02


@SCHEDULE
def test_ddim_without_eta_draws_nothing(schedule: Schedule, gaussian: Any) -> None:
    levels, rng = schedule.grid(10), Rng([5])
    one = ddim(gaussian.denoise, noisy(levels), levels, Rng([1]))
    assert torch.equal(one, ddim(gaussian.denoise, noisy(levels), levels, rng))
    assert torch.equal(rng.randn(3), Rng([5]).randn(3))


@SCHEDULE
def test_ddim_with_eta_1_is_ddpm_with_the_same_noise(schedule: Schedule, gaussian: Any) -> None:
    """DDIM, section 4.1: sigma_t(1) is the square root of DDPM's posterior variance."""
    levels = schedule.grid(20)
    by_ddim = ddim(gaussian.denoise, noisy(levels), levels, Rng(range(5)), eta=1.0)
    by_ddpm = ddpm(gaussian.denoise, noisy(levels), levels, Rng(range(5)))
    assert torch.allclose(by_ddim, by_ddpm, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(by_ddim, ddim(gaussian.denoise, noisy(levels), levels, Rng(range(5))))


def test_ddim_on_rising_levels_inverts_itself(gaussian: Any) -> None:
    """From clean data to noise and back: the bipartite latent of arXiv 2204.06125, section 3."""
    levels = Cosine().grid(300)
    data = torch.linspace(-0.5, 2, 6)[:, None]
    latent = ddim(gaussian.denoise, data, levels[::-1], Rng(range(6)))
    assert torch.allclose(latent, ode_map(data, levels[-1], levels[0]), atol=0.05)
    back = ddim(gaussian.denoise, latent, levels, Rng(range(6)))
    assert torch.allclose(back, data, atol=0.02)


def test_posterior_is_ddpms() -> None:
    """DDPM, eq. 7, from alpha_bar and beta as the paper writes them."""
    schedule, t = Cosine(), 500
    bar, beta = schedule.alpha_bar(), schedule.betas()
    now, then = (schedule.level(torch.tensor(float(i))) for i in (t, t - 1))
    x, x0 = torch.tensor([[0.3], [-1.2]]), torch.tensor([[0.5], [0.1]])
    mean, variance = posterior(x, Prediction(x0, x), now, then)
    of_x0 = bar[t - 1].sqrt() * beta[t] / (1 - bar[t])
    of_x = (1 - beta[t]).sqrt() * (1 - bar[t - 1]) / (1 - bar[t])
    assert torch.allclose(mean, (of_x0 * x0 + of_x * x).float(), atol=1e-5)
    expected = (1 - bar[t - 1]) / (1 - bar[t]) * beta[t]
    assert float(variance) == pytest.approx(float(expected), rel=1e-3)


def test_posterior_is_the_product_of_its_gaussians() -> None:
    """Bayes' rule for any alpha and sigma: prior N(x_then; ., .), likelihood of x_now."""
    now = Level(torch.tensor(0.0), torch.tensor(0.9), torch.tensor(3.0))
    then = Level(torch.tensor(0.0), torch.tensor(0.95), torch.tensor(1.5))
    x, x0 = torch.tensor([[2.0]]), torch.tensor([[0.4]])
    ratio = 0.9 / 0.95
    step = 3.0**2 - ratio**2 * 1.5**2
    precision = 1 / 1.5**2 + ratio**2 / step
    expected = (0.95 * 0.4 / 1.5**2 + ratio * 2.0 / step) / precision
    mean, variance = posterior(x, Prediction(x0, x), now, then)
    assert float(mean) == pytest.approx(expected, rel=1e-5)
    assert float(variance) == pytest.approx(1 / precision, rel=1e-5)


@pytest.mark.parametrize("t", [1, 10, 500, 999])
def test_a_learned_variance_runs_from_the_posteriors_to_beta_in_the_log_domain(t: int) -> None:
    """Improved DDPM, eq. 15."""
    schedule = Cosine()
    now, then = (schedule.level(torch.tensor(float(i))) for i in (t, t - 1))
    bar, beta = schedule.alpha_bar(), float(schedule.betas()[t])
    low = float((1 - bar[t - 1]) / (1 - bar[t])) * beta
    x = torch.zeros(3, 1)
    fraction = torch.tensor([[0.0], [0.5], [1.0]])
    _, variance = posterior(x, Prediction(x, x, fraction), now, then)
    expected = [low, (low * beta) ** 0.5, beta]
    assert variance[:, 0].tolist() == pytest.approx(expected, rel=2e-2)
    _, fixed = posterior(x, Prediction(x, x), now, then)
    assert float(variance[0]) == pytest.approx(float(fixed), rel=1e-5)


def test_ddpm_uses_the_learned_variance() -> None:
    """One step from the same x: the spread over many seeds is the network's own."""
    levels = Cosine().grid(50)[20:22]
    x = torch.zeros(3000, 1)

    def spread(fraction: float | None) -> float:
        def denoise(x: Tensor, level: Level) -> Prediction:
            return Prediction(x, x, None if fraction is None else torch.full_like(x, fraction))

        return float(ddpm(denoise, x, levels, Rng(range(3000))).std())

    now, then = levels
    step = float(now.sigma**2 - (now.alpha / then.alpha) ** 2 * then.sigma**2)
    smallest = step * float(then.sigma**2 / now.sigma**2)
    assert spread(1.0) == pytest.approx(step**0.5, rel=0.04)
    assert spread(0.0) == pytest.approx(smallest**0.5, rel=0.04)
    assert spread(None) == pytest.approx(smallest**0.5, rel=0.04)


def test_eta_scales_ddpms_noise() -> None:
    levels, x = Cosine().grid(50)[20:22], torch.ones(4, 1)

    def step(eta: float) -> Tensor:
        return ddpm(lambda x, level: Prediction(x, x), x, levels, Rng(range(4)), eta=eta)

    assert torch.allclose(step(0.5) - step(0.0), (step(1.0) - step(0.0)) / 2, atol=1e-6)
    assert (step(1.0) - step(0.0)).abs().min() > 0
