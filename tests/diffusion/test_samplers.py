"""Samplers against what their papers prove. What every sampler keeps is in contracts/."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unclip.diffusion.guidance import hold, map_x0
from unclip.diffusion.samplers import (
    SAMPLERS,
    Sampler,
    analytic_dpm,
    ddim,
    ddpm,
    dpmpp_2m,
    dpmpp_2m_sde,
    euler,
    euler_ancestral,
    heun,
    pndm,
    posterior,
    repaint,
    unipc,
)
from unclip.diffusion.samplers.ancestral import uncertainty
from unclip.diffusion.samplers.linear_multistep import WEIGHTS
from unclip.diffusion.schedule import Cosine, Edm, Linear, Schedule
from unclip.errors import UsageError
from unclip.rng import BatchRng, Rng
from unclip.types import Denoiser, Level, Prediction

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


@SCHEDULE
@pytest.mark.parametrize("eta", [0.4, 1.0])
def test_euler_ancestral_is_ddim_by_another_name(
    schedule: Schedule, eta: float, gaussian: Any
) -> None:
    levels = schedule.grid(20)
    ours = euler_ancestral(gaussian.denoise, noisy(levels), levels, Rng(range(5)), eta=eta)
    theirs = ddim(gaussian.denoise, noisy(levels), levels, Rng(range(5)), eta=eta)
    assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_step_of_euler_ancestral_is_that_of_k_diffusion() -> None:
    """Down to sigma_down of s = sigma/alpha, in x/alpha, then noise of sigma_up."""
    now = Level(torch.tensor(0.0), torch.tensor(0.6), torch.tensor(0.8))
    then = Level(torch.tensor(0.0), torch.tensor(0.8), torch.tensor(0.6))
    x, x0, eps = torch.tensor([[1.1]]), torch.tensor([[0.5]]), torch.tensor([[1.0]])
    s, s_next = 0.8 / 0.6, 0.6 / 0.8
    up = min(s_next, (s_next**2 * (s**2 - s_next**2) / s**2) ** 0.5)
    down = (s_next**2 - up**2) ** 0.5
    noise = float(Rng([3]).randn(1))
    euler_step = 1.1 / 0.6 + (1.1 / 0.6 - 0.5) / s * (down - s)
    drawn = euler_ancestral(lambda *_: Prediction(x0, eps), x, [now, then], Rng([3]))
    assert float(drawn) == pytest.approx(0.8 * (euler_step + up * noise), rel=1e-5)


def test_the_weights_of_pndm_integrate_polynomials_exactly() -> None:
    """The k latest values of any polynomial of degree below k give its integral over a step."""
    for weights in WEIGHTS:
        for degree in range(len(weights)):
            back = range(1 - len(weights), 1)
            integral = sum(w * float(u) ** degree for w, u in zip(weights, back, strict=True))
            assert integral == pytest.approx(1 / (degree + 1)), (weights, degree)


def test_pndm_warms_up_with_the_improved_euler_method(gaussian: Any) -> None:
    """By hand: eps at the start and at the end of DDIM's step, averaged; then 3/2 and -1/2."""
    levels = Linear().grid(6, "leading")[2:5]
    first, second, third = levels
    x, eps = noisy(levels), list[Tensor]()

    def transfer(x: Tensor, eps: Tensor, now: Level, then: Level) -> Tensor:
        return then.alpha * (x - now.sigma * eps) / now.alpha + then.sigma * eps

    eps = [gaussian.denoise(x, first).eps]
    eps.append(gaussian.denoise(transfer(x, eps[0], first, second), second).eps)
    once = transfer(x, (eps[0] + eps[1]) / 2, first, second)
    eps.append(gaussian.denoise(once, second).eps)
    twice = transfer(once, 1.5 * eps[2] - 0.5 * eps[0], second, third)
    assert torch.allclose(pndm(gaussian.denoise, x, levels[:2], Rng(range(5))), once, atol=1e-5)
    assert torch.allclose(pndm(gaussian.denoise, x, levels, Rng(range(5))), twice, atol=1e-5)


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


def angles(steps: int) -> list[Level]:
    """Variance-preserving, even in the angle, from mostly noise to mostly data; float64."""
    theta = torch.linspace(1.45, 0.1, steps + 1, dtype=torch.float64)
    return [Level(t, t.cos(), t.sin()) for t in theta]


def log_snrs(steps: int) -> list[Level]:
    """Variance-preserving, even in the log-SNR; float64."""
    half = torch.linspace(-2.5, 2.5, steps + 1, dtype=torch.float64)
    return [Level(t, (2 * t).sigmoid().sqrt(), (-2 * t).sigmoid().sqrt()) for t in half]


def sigmas(steps: int) -> list[Level]:
    """EDM's, from sigma 10 to 0.1, even in the fourth root; float64."""
    sigma = torch.linspace(10**0.25, 0.1**0.25, steps + 1, dtype=torch.float64) ** 4
    return [Level(value, torch.ones_like(value), value) for value in sigma]


def runge_kutta(denoise: Denoiser, x: Tensor, now: Level, then: Level, steps: int = 150) -> Tensor:
    """The ODE d(x/alpha)/ds = eps, s = sigma/alpha, by the classical method of order 4 in ln s."""
    start, end = (float(level.sigma / level.alpha) for level in (now, then))
    h = math.log(end / start) / steps

    def slope(y: Tensor, log_s: float) -> Tensor:
        s = torch.tensor(log_s, dtype=torch.float64).exp()
        return s * denoise(y, Level(s, torch.ones_like(s), s)).eps

    y = x / now.alpha
    for i in range(steps):
        u = math.log(start) + i * h
        a = slope(y, u)
        b = slope(y + h / 2 * a, u + h / 2)
        c = slope(y + h / 2 * b, u + h / 2)
        y = y + h / 6 * (a + 2 * b + 2 * c + slope(y + h * c, u + h))
    return y * then.alpha


@pytest.mark.parametrize("grid", [angles, log_snrs, sigmas])
@pytest.mark.parametrize(
    ("run", "order"), [(ddim, 1), (euler, 1), (heun, 2), (dpmpp_2m, 2), (unipc, 3)]
)
def test_the_error_falls_with_the_order_of_the_method(
    run: Sampler, order: int, grid: Callable[[int], list[Level]], mixture: Any
) -> None:
    """On two modes that the ODE has to tell apart. UniC makes UniPC-2 of order 3 (theorem 3.1)."""
    data = mixture(((-1.0,), (0.6,)), (0.35, 0.65), 0.5)
    first, last = grid(1)
    wide = ((0.5 * first.alpha) ** 2 + first.sigma**2).sqrt()
    x = wide * torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    truth = runge_kutta(data.denoise, x, first, last)
    counts = (40, 80, 160)
    errors = [
        float((run(data.denoise, x, grid(steps), Rng(range(9))) - truth).abs().max())
        for steps in counts
    ]
    assert errors[-1] < 0.02
    slopes = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert all(order - 0.25 < slope < order + 0.35 for slope in slopes), (errors, slopes)


class Impulses(Rng):
    """In place of noise, one number 1 a sample: sample 0 gets none, sample k the k-th draw."""

    def __init__(self, draws: int) -> None:
        super().__init__(range(draws + 1))
        self.drawn = 0

    def randn(self, *shape: int) -> Tensor:
        self.drawn += 1
        return torch.eye(len(self.seeds), dtype=torch.float64)[:, self.drawn].view(-1, *shape)


def exact_moments(
    run: Sampler, denoise: Denoiser, levels: list[Level], eta: float
) -> tuple[float, float]:
    """Mean and standard deviation of what `run` draws, where the denoiser is affine in x."""
    rng = Impulses(len(levels))
    wide = ((levels[0].alpha * STD) ** 2 + levels[0].sigma ** 2).sqrt()
    x = levels[0].alpha * MEAN + wide * rng.randn(1)
    drawn = run(denoise, x, levels, rng, eta=eta)[:, 0]
    return float(drawn[0]), float(((drawn[1:] - drawn[0]) ** 2).sum().sqrt())


@pytest.mark.parametrize("grid", [angles, log_snrs, sigmas])
@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize(
    ("run", "order"),
    [(ddim, 1), (euler, 1), (heun, 2), (dpmpp_2m, 2), (dpmpp_2m_sde, 2), (unipc, 2)],
)
def test_every_eta_keeps_the_marginal(
    run: Sampler, order: int, eta: float, grid: Callable[[int], list[Level]], gaussian: Any
) -> None:
    """Mean and spread at the last level, without the luck of a draw: their error has an order."""
    last = grid(1)[-1]
    mean, std = float(last.alpha * MEAN), float(((last.alpha * STD) ** 2 + last.sigma**2).sqrt())

    def error(steps: int) -> float:
        of_mean, of_std = exact_moments(run, gaussian.denoise, grid(steps), eta)
        return math.hypot(of_mean - mean, of_std - std)

    errors = [error(steps) for steps in (40, 80, 160)]
    assert errors[-1] < 0.01
    slopes = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert min(slopes) > order - 0.3, (errors, slopes)


@pytest.mark.parametrize("run", [euler, heun, dpmpp_2m, unipc])
def test_more_noise_than_the_sde_has_is_possible(run: Sampler, gaussian: Any) -> None:
    mean, std = exact_moments(run, gaussian.denoise, Cosine().grid(300), 1.7)
    assert mean == pytest.approx(MEAN, abs=0.02)
    assert std == pytest.approx(STD, rel=0.05)


def test_second_order_samplers_of_the_sde_beat_ddpm(gaussian: Any) -> None:
    def error(run: Sampler) -> float:
        return abs(exact_moments(run, gaussian.denoise, log_snrs(20), 1.0)[1] - truth)

    last = log_snrs(1)[-1]
    truth = float(((last.alpha * STD) ** 2 + last.sigma**2).sqrt())
    assert error(dpmpp_2m_sde) < 0.3 * error(ddpm)
    assert error(unipc) < 0.3 * error(ddpm)


@SCHEDULE
def test_euler_is_ddim_without_noise_and_ddpm_with_all_of_it(
    schedule: Schedule, gaussian: Any
) -> None:
    levels = schedule.grid(20)

    def draw(run: Sampler, eta: float) -> Tensor:
        return run(gaussian.denoise, noisy(levels), levels, Rng(range(5)), eta=eta)

    assert torch.allclose(draw(euler, 0.0), draw(ddim, 0.0), rtol=1e-5, atol=1e-5)
    assert torch.allclose(draw(euler, 1.0), draw(ddpm, 1.0), rtol=1e-4, atol=1e-4)


def test_heun_is_edms_algorithm_1_in_two_calls_a_step_and_one_on_the_last(mixture: Any) -> None:
    """EDM, algorithm 1, as written there for sigma(t) = t, on its grid of 18 steps."""
    data, levels = mixture(((-1.0,), (1.0,)), (0.4, 0.6), 0.3), Edm().grid(18)
    asked: list[float] = []

    def denoise(x: Tensor, level: Level) -> Prediction:
        asked.append(float(level.sigma))
        return data.denoise(x, level)  # type: ignore[no-any-return]

    x = start = 80 * torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
    for now, then in itertools.pairwise(levels):
        t, t_next = now.sigma.double(), then.sigma.double()
        d = (x - data.denoise(x, now).x0) / t
        euler_x = x + (t_next - t) * d
        if t_next > 0:
            d_next = (euler_x - data.denoise(euler_x, then).x0) / t_next
            x = x + (t_next - t) * (d + d_next) / 2
        else:
            x = euler_x
    drawn = heun(denoise, start, levels, Rng(range(5)))
    assert torch.allclose(drawn, x, atol=1e-9)
    every = [float(level.sigma) for level in levels[:-1]]
    assert asked == [every[0], *(s for s in every[1:] for _ in range(2))]


@pytest.mark.parametrize("run", [ddim, euler, dpmpp_2m, dpmpp_2m_sde, unipc, ddpm, analytic_dpm])
def test_one_network_call_a_step(run: Sampler, gaussian: Any) -> None:
    asked: list[float] = []

    def denoise(x: Tensor, level: Level) -> Prediction:
        asked.append(float(level.t))
        return gaussian.denoise(x, level)  # type: ignore[no-any-return]

    levels = Cosine().grid(9)
    run(denoise, noisy(levels), levels, Rng(range(5)))
    assert asked == [float(level.t) for level in levels[:-1]]


def test_the_sde_variant_is_the_same_solver_with_another_default(gaussian: Any) -> None:
    levels = Cosine().grid(8)

    def draw(run: Sampler, **eta: float) -> Tensor:
        return run(gaussian.denoise, noisy(levels), levels, Rng(range(5)), **eta)

    assert torch.equal(draw(dpmpp_2m_sde, eta=0.0), draw(dpmpp_2m))
    assert torch.equal(draw(dpmpp_2m_sde), draw(dpmpp_2m, eta=1.0))
    assert not torch.allclose(draw(dpmpp_2m_sde), draw(dpmpp_2m), atol=1e-3)


def test_2m_takes_the_papers_second_step(gaussian: Any) -> None:
    """DPM-Solver++, algorithm 2, lines 5 to 8, by hand; and SDE-DPM-Solver++(2M) with eta 1."""
    levels = [*log_snrs(2)[:2], angles(3)[-1]]
    lambdas = [float((level.alpha / level.sigma).log()) for level in levels]
    h1, h2 = lambdas[1] - lambdas[0], lambdas[2] - lambdas[1]
    assert h2 < 1.5 * h1
    a, b, c = levels
    x = torch.tensor([[0.3], [1.1]], dtype=torch.float64)
    d0 = gaussian.denoise(x, a).x0
    x1 = b.sigma / a.sigma * x - b.alpha * math.expm1(-h1) * d0
    d1 = gaussian.denoise(x1, b).x0
    r = h1 / h2
    d = (1 + 1 / (2 * r)) * d1 - 1 / (2 * r) * d0
    x2 = c.sigma / b.sigma * x1 - c.alpha * math.expm1(-h2) * d
    assert torch.allclose(dpmpp_2m(gaussian.denoise, x, levels, Rng([0, 1])), x2, atol=1e-12)

    z1, z2 = Rng([0, 1]).randn(2).double().T[:, :, None]
    keep, noise = math.exp(-h1), math.sqrt(-math.expm1(-2 * h1))
    x1 = b.sigma / a.sigma * keep * x - b.alpha * math.expm1(-2 * h1) * d0 + b.sigma * noise * z1
    d1 = gaussian.denoise(x1, b).x0
    d = (1 + 1 / (2 * r)) * d1 - 1 / (2 * r) * d0
    keep, noise = math.exp(-h2), math.sqrt(-math.expm1(-2 * h2))
    x2 = c.sigma / b.sigma * keep * x1 - c.alpha * math.expm1(-2 * h2) * d + c.sigma * noise * z2
    assert torch.allclose(dpmpp_2m_sde(gaussian.denoise, x, levels, Rng([0, 1])), x2, atol=1e-6)


def of_uncertainty(level: Level) -> float:
    """Var[x0 | x_t] for Gaussian data of standard deviation STD."""
    alpha, sigma = float(level.alpha), float(level.sigma)
    return STD**2 * sigma**2 / ((alpha * STD) ** 2 + sigma**2)


def wide_data(levels: list[Level], d: int, batch: int) -> tuple[Denoiser, Tensor]:
    """The exact denoiser of N(0, STD^2 I) in d dimensions, and x at the first level."""

    def denoise(x: Tensor, level: Level) -> Prediction:
        alpha, sigma = level.like(x)
        variance = (alpha * STD) ** 2 + sigma**2
        return Prediction(alpha * STD**2 / variance * x, sigma / variance * x)

    wide = ((levels[0].alpha * STD) ** 2 + levels[0].sigma ** 2).sqrt()
    return denoise, wide * Rng(range(batch)).fork("data").randn(d)


@SCHEDULE
@pytest.mark.parametrize("place", [5, 20, 35, 48])
def test_a_sample_of_many_numbers_tells_its_own_uncertainty(schedule: Schedule, place: int) -> None:
    level = schedule.grid(50)[place]
    denoise, x = wide_data([level], 20_000, 3)
    found = uncertainty(denoise(x, level), level)
    assert found.shape == (3, 1)
    assert found[:, 0].tolist() == pytest.approx([of_uncertainty(level)] * 3, rel=0.1, abs=0.002)


@given(
    t=st.integers(0, 999), a=st.floats(-3, 3), b=st.floats(-3, 3), schedule=st.sampled_from([0, 1])
)
def test_uncertainty_stays_within_what_is_possible(
    t: int, a: float, b: float, schedule: int
) -> None:
    """Analytic-DPM, theorem 2."""
    level = (Cosine(), Linear())[schedule].level(torch.tensor(float(t)))
    x = torch.full((1, 2), 1.0)
    found = float(uncertainty(Prediction(a * x, b * x), level))
    most = min(1.0, float((level.sigma / level.alpha) ** 2))
    assert 0 <= found <= most * (1 + 1e-6)


def test_analytic_dpm_takes_the_true_variance_of_the_reverse_step() -> None:
    """Of Gaussian data, x_then given x_now is Gaussian by Bayes' rule, and its variance known."""
    levels = Cosine().grid(6)[2:4]
    now, then = levels
    denoise, x = wide_data(levels, 50_000, 2)
    ratio = float(now.alpha / then.alpha)
    forward = float(now.sigma) ** 2 - ratio**2 * float(then.sigma) ** 2
    before = (float(then.alpha) * STD) ** 2 + float(then.sigma) ** 2
    true = 1 / (1 / before + ratio**2 / forward)
    mean = ratio * before / (ratio**2 * before + forward) * x

    def spread(run: Sampler) -> list[float]:
        noise = run(denoise, x, levels, Rng([7, 8]), eta=1.0) - mean
        return [float(value) for value in noise.var(1)]

    assert spread(analytic_dpm) == pytest.approx([true] * 2, rel=0.03)
    assert max(spread(ddpm)) < 0.9 * true


def test_few_steps_of_analytic_dpm_keep_the_spread_of_the_data() -> None:
    levels = Cosine().grid(8)[:-1]  # to a noisy level, so without the last clipping
    denoise, x = wide_data(levels, 20_000, 2)
    true = float(((levels[-1].alpha * STD) ** 2 + levels[-1].sigma ** 2).sqrt())

    def spread(run: Sampler) -> float:
        return float(run(denoise, x, levels, Rng([7, 8]), eta=1.0).std())

    assert spread(analytic_dpm) == pytest.approx(true, rel=0.03)
    assert spread(ddpm) < 0.9 * true


def test_analytic_dpm_clips_the_variance_before_the_last_denoising() -> None:
    """So that the noise there is two of 255 steps of a pixel on average."""
    levels = Cosine().grid(4)[2:]
    denoise, x = wide_data(levels, 20_000, 2)
    seen: list[Tensor] = []

    def watched(x: Tensor, level: Level) -> Prediction:
        seen.append(x)
        return denoise(x, level)

    def noise(levels: list[Level]) -> float:
        """Mean size of what the first step adds."""
        seen.clear()
        seen.append(analytic_dpm(watched, x, levels, Rng([0, 1]), eta=0.0))
        seen.append(analytic_dpm(watched, x, levels, Rng([0, 1]), eta=1.0))
        quiet, loud = seen[1], seen[len(seen) // 2 + 1]
        return float((loud - quiet).abs().mean())

    assert noise(levels) == pytest.approx(4 / 255, rel=0.02)
    assert noise(levels[:2]) > 2 * 4 / 255, "levels that end noisy are not clipped"


def test_analytic_dpm_has_no_use_for_a_learned_variance(gaussian: Any) -> None:
    levels = Cosine().grid(8)

    def learnt(x: Tensor, level: Level) -> Prediction:
        p = gaussian.denoise(x, level)
        return Prediction(p.x0, p.eps, torch.ones_like(x))

    plain = analytic_dpm(gaussian.denoise, noisy(levels), levels, Rng(range(5)))
    assert torch.equal(plain, analytic_dpm(learnt, noisy(levels), levels, Rng(range(5))))


@pytest.mark.parametrize("run", [ddim, ddpm, heun])
def test_repaint_without_repetition_is_the_sampler(run: Sampler, gaussian: Any) -> None:
    levels = Cosine().grid(10)
    plain = run(gaussian.denoise, noisy(levels), levels, Rng(range(5)))
    again = repaint(run, 1)(gaussian.denoise, noisy(levels), levels, Rng(range(5)))
    assert torch.allclose(again, plain, atol=1e-6)
    less = repaint(run, 1)(gaussian.denoise, noisy(levels), levels, Rng(range(5)), eta=0.3)
    assert not torch.allclose(less, plain, atol=1e-3)


@pytest.mark.parametrize("name", SAMPLERS)
@SCHEDULE
def test_repaint_keeps_the_marginal(name: str, schedule: Schedule, gaussian: Any) -> None:
    """Up and down again is a walk along the forward process, which keeps what is true true."""
    rng, levels = BatchRng(name, 4000), schedule.grid(60)
    x = rng.randn(1) * levels[0].sigma
    drawn = repaint(SAMPLERS[name], 3)(gaussian.denoise, x, levels, rng)
    assert float(drawn.mean()) == pytest.approx(MEAN, abs=0.03)
    assert float(drawn.std()) == pytest.approx(STD, rel=0.13)


def test_repaint_brings_the_painted_part_into_agreement(mixture: Any) -> None:
    """Two numbers that are always equal: what is painted has to follow the one that is known."""
    data = mixture(((-1.0, -1.0), (1.0, 1.0)), (0.9, 0.1), 0.2)
    levels, known, mask = Cosine().grid(20), torch.ones(500, 2), torch.tensor([[0.0, 1.0]])
    denoise = map_x0(data.denoise, hold(known, mask))

    def agreement(resample: int) -> float:
        rng = BatchRng(0, 500)
        x = rng.randn(2) * levels[0].sigma
        drawn = repaint(ddim, resample)(denoise, x, levels, rng)
        assert torch.allclose(drawn[:, 0], torch.ones(500), atol=1e-4)
        return float((drawn[:, 1] > 0).float().mean())

    assert agreement(1) < 0.7
    assert agreement(5) > 0.95


def test_repaint_counts_every_step_it_takes(gaussian: Any) -> None:
    heard: list[tuple[int, int]] = []
    asked: list[float] = []

    def denoise(x: Tensor, level: Level) -> Prediction:
        asked.append(float(level.t))
        return gaussian.denoise(x, level)  # type: ignore[no-any-return]

    levels = Cosine().grid(3)
    repaint(ddim, 2)(
        denoise, noisy(levels), levels, Rng(range(5)), lambda i, n, x0: heard.append((i, n))
    )
    t = [float(level.t) for level in levels]
    assert asked == [t[0], t[0], t[1], t[1], t[2]], "the step to the clean level is taken once"
    assert heard == [(i, 5) for i in range(1, 6)]


def test_a_repainted_sample_does_not_depend_on_its_batch(gaussian: Any) -> None:
    levels = Cosine().grid(5)

    def draw(seeds: list[int]) -> Tensor:
        rng = Rng(seeds)
        return repaint(ddpm, 3)(gaussian.denoise, rng.randn(1), levels, rng)

    assert torch.allclose(draw([1, 2, 3])[1], draw([2])[0], atol=1e-6)


def test_repaint_needs_to_take_each_step() -> None:
    with pytest.raises(UsageError, match="resample must be at least 1, got 0"):
        repaint(ddim, 0)
