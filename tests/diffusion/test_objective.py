"""The loss against hand computation, and the variance's bound against calculus."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unclip.diffusion.objective import (
    DiffusionObjective,
    EdmTraining,
    diffusion_loss,
    variance_bound,
)
from unclip.diffusion.parameterization import Parameterization
from unclip.diffusion.schedule import Cosine, Edm, Schedule
from unclip.rng import BatchRng, Rng
from unclip.types import Prediction

PLAIN = DiffusionObjective()
X0 = torch.linspace(-1, 1, 4 * 3 * 4).view(4, 3, 2, 2)
SCHEDULE = pytest.mark.parametrize("schedule", [Cosine(), Edm()], ids=["cosine", "edm"])


def drawn(schedule: Schedule) -> tuple[Any, Tensor]:
    """The level and the noise that the objective draws for X0 from seed 3."""
    rng = BatchRng(3, len(X0))
    return schedule.sample(rng), rng.randn(*X0.shape[1:])


@pytest.mark.parametrize("kind", ["eps", "x0", "v"])
@pytest.mark.parametrize("gamma", [None, 5.0])
@SCHEDULE
def test_the_loss_of_a_constant_network(kind: Any, gamma: float | None, schedule: Any) -> None:
    p = Parameterization(kind=kind)
    level, eps = drawn(schedule)
    alpha, sigma = level.like(X0)
    scale = (alpha**2 + sigma**2).sqrt()
    target = {"eps": eps, "x0": X0, "v": (alpha * eps - sigma * X0) / scale}[kind]
    snr = (level.alpha / level.sigma) ** 2
    least = snr.clamp(max=5.0)
    weight = {"eps": least / snr, "x0": least, "v": least / (snr + 1)}[kind]
    expected = ((target - 0.3) ** 2).flatten(1).mean(1)
    config = DiffusionObjective(min_snr_gamma=gamma)
    loss, metrics = diffusion_loss(
        lambda x, t: torch.full_like(x, 0.3), X0, schedule, p, config, BatchRng(3, 4)
    )
    assert loss.shape == (4,)
    assert torch.allclose(metrics["mse"], expected, rtol=1e-3)
    assert torch.allclose(loss, expected if gamma is None else weight * expected, rtol=1e-3)
    assert set(metrics) == {"mse"}


@pytest.mark.parametrize("kind", ["eps", "x0", "v"])
@SCHEDULE
def test_any_output_can_be_trained_with_the_loss_of_v(kind: Any, schedule: Any) -> None:
    """One prediction of x0, put out in three ways, has one loss: v's error, or gamma of x0's."""
    level, eps = drawn(schedule)
    alpha, sigma = level.like(X0)
    x = alpha * X0 + sigma * eps
    guess = Prediction(0.3 * X0 + 0.1, (x - alpha * (0.3 * X0 + 0.1)) / sigma)
    p = Parameterization(kind=kind)

    def net(x: Tensor, t: Tensor) -> Tensor:
        return p.target(guess.x0, guess.eps, level)

    of_x0 = ((guess.x0 - X0) ** 2).flatten(1).mean(1)
    of_v = of_x0 * (1 + (level.alpha / level.sigma) ** 2)
    for gamma in (1.0, 5.0, 1e9):
        config = DiffusionObjective(v_gamma=gamma)
        loss, _ = diffusion_loss(net, X0, schedule, p, config, BatchRng(3, 4))
        assert torch.allclose(loss, torch.minimum(of_v, gamma * of_x0), rtol=1e-3)


@pytest.mark.parametrize("kind", ["eps", "x0", "v"])
@pytest.mark.parametrize("std", [1.0, 0.5])
@SCHEDULE
def test_edm_weights_the_error_of_x0_as_its_table_says(
    kind: Any, std: float, schedule: Any
) -> None:
    """lambda(sigma) = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2, sigma that at alpha = 1."""
    p, config = Parameterization(kind=kind, data_std=std), DiffusionObjective(edm=EdmTraining())
    rng = BatchRng(3, len(X0))
    level, eps = config.level(schedule, rng), rng.randn(*X0.shape[1:])
    alpha, sigma = level.like(X0)
    x = alpha * X0 + sigma * eps
    guess = Prediction(0.3 * X0 + 0.1, (x - alpha * (0.3 * X0 + 0.1)) / sigma)
    loss, _ = diffusion_loss(
        lambda x, t: p.target(guess.x0, guess.eps, level), X0, schedule, p, config, BatchRng(3, 4)
    )
    at_one = level.sigma / level.alpha
    weight = (at_one**2 + std**2) / (at_one * std) ** 2
    want = weight * ((guess.x0 - X0) ** 2).flatten(1).mean(1)
    assert torch.allclose(loss, want, rtol=2e-3)


@SCHEDULE
def test_edms_levels_are_log_normal(schedule: Any) -> None:
    config = DiffusionObjective(edm=EdmTraining(p_mean=-0.4, p_std=0.8))
    level = config.level(schedule, BatchRng("x", 4000))
    log_sigma = (level.sigma / level.alpha).log()
    assert float(log_sigma.mean()) == pytest.approx(-0.4, abs=0.05)
    assert float(log_sigma.std()) == pytest.approx(0.8, abs=0.04)
    inside = (log_sigma + 0.4).abs() < 0.8
    assert float(inside.float().mean()) == pytest.approx(0.6827, abs=0.03)


@pytest.mark.parametrize("learned", [False, True])
@SCHEDULE
def test_only_what_is_in_the_mask_counts(learned: bool, schedule: Any) -> None:
    """The loss is the mean of the error there, and nothing outside has a gradient."""
    p = Parameterization(kind="eps", learned_variance=learned)
    inside = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).expand(len(X0), 1, 2, 2)
    said = torch.full((4, 6 if learned else 3, 2, 2), 0.3, requires_grad=True)

    def run(counts: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        rng = BatchRng(3, len(X0))
        return diffusion_loss(lambda x, t: said, X0, schedule, p, PLAIN, rng, counts)

    (loss, metrics), (_, eps) = run(inside), drawn(schedule)
    want = ((eps[..., 0] - 0.3) ** 2).flatten(1).mean(1)
    assert torch.allclose(metrics["mse"], want, rtol=1e-3)
    loss.sum().backward()
    assert said.grad is not None
    assert not said.grad[..., 1].any() and said.grad[..., 0].all()
    assert not run(torch.zeros_like(inside))[0].any()


def test_one_weighting_at_a_time() -> None:
    with pytest.raises(ValueError, match="edm has weights of its own: leave out min_snr_gamma"):
        DiffusionObjective(edm=EdmTraining(), min_snr_gamma=5.0)


@pytest.mark.parametrize("kind", ["eps", "x0", "v"])
@SCHEDULE
def test_a_perfect_network_has_no_loss(kind: Any, schedule: Any) -> None:
    p = Parameterization(kind=kind, data_std=0.5)
    level, eps = drawn(schedule)
    alpha, sigma = level.like(X0)
    seen: list[tuple[Tensor, Tensor]] = []

    def net(x: Tensor, t: Tensor) -> Tensor:
        seen.append((x, t))
        return p.target(X0, eps, level)

    loss, _ = diffusion_loss(net, X0, schedule, p, PLAIN, BatchRng(3, 4))
    assert float(loss.max()) < 1e-6
    x = (alpha * X0 + sigma * eps) / ((0.5 * alpha) ** 2 + sigma**2).sqrt()
    assert torch.allclose(seen[0][0], x, rtol=1e-4, atol=1e-5)
    assert torch.equal(seen[0][1], level.t)


def test_the_loss_of_a_sample_depends_on_its_own_seed() -> None:
    p = Parameterization()

    def loss(seeds: list[int], x0: Tensor) -> Tensor:
        return diffusion_loss(lambda x, t: x, x0, Cosine(), p, PLAIN, Rng(seeds))[0]

    assert torch.allclose(loss([1, 2, 3, 4], X0)[2:3], loss([3], X0[2:3]))


def bound_of(
    fraction: Tensor, t: float, wrong: float = 0.0, schedule: Any = None
) -> tuple[Tensor, Any, Any]:
    """The bound (B,) for a network off by `wrong` in x0, with this variance fraction (B, 1)."""
    schedule = schedule or Cosine()
    level = schedule.level(torch.full((len(fraction),), t))
    alpha, sigma = level.like(fraction)
    x0, eps = torch.full_like(fraction, 0.4), torch.full_like(fraction, -0.7)
    guess = x0 + wrong
    prediction = Prediction(guess, eps - alpha / sigma * wrong, fraction)
    x = alpha * x0 + sigma * eps
    return variance_bound(x, x0, prediction, level, schedule), level, schedule.before(level)


def end_points(level: Any, then: Any) -> tuple[float, float]:
    """The posterior's variance and beta."""
    step = float((level.sigma**2 - (level.alpha / then.alpha) ** 2 * then.sigma**2)[0])
    return step * float((then.sigma**2 / level.sigma**2)[0]), step


@pytest.mark.parametrize("t", [2.0, 50.0, 500.0])
def test_the_bound_is_zero_at_the_true_posterior_and_grows_from_there(t: float) -> None:
    fractions = torch.linspace(0, 1, 11)[:, None]
    bound, level, then = bound_of(fractions, t)
    low, high = end_points(level, then)
    assert float(bound[0]) == pytest.approx(0, abs=1e-6)
    assert (bound[1:] > bound[:-1]).all()
    ratio = math.log(high / low)  # KL of two Gaussians of one mean, in bits
    assert float(bound[-1]) == pytest.approx(
        0.5 * (ratio - 1 + math.exp(-ratio)) / math.log(2), rel=0.02, abs=1e-7
    )


@given(share=st.floats(0.1, 0.9), t=st.sampled_from([3.0, 10.0, 100.0]))
def test_the_best_variance_is_the_posteriors_plus_the_squared_error_of_the_mean(
    share: float, t: float
) -> None:
    """d/dv [ln v + (s + e^2) / v] = 0 at v = s + e^2."""
    _, level, then = bound_of(torch.zeros(1, 1), t)
    low, high = end_points(level, then)
    best = low ** (1 - share) * high**share
    of_x0 = float(then.alpha[0] * high / level.sigma[0] ** 2)  # d mean / d x0
    wrong = math.sqrt(best - low) / of_x0
    fractions = torch.linspace(0, 1, 201)[:, None]
    bound, _, _ = bound_of(fractions, t, wrong)
    assert float(fractions[bound.argmin()]) == pytest.approx(share, abs=0.02)


def test_at_the_first_timestep_it_is_the_likelihood_at_8_bits() -> None:
    fraction = torch.tensor([[1.0]])
    bound, level, then = bound_of(fraction, 0.0, wrong=0.01)
    assert float(then.sigma[0]) == 0
    variance = float(level.sigma[0]) ** 2
    density = math.exp(-(0.01**2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
    assert float(bound[0]) == pytest.approx(-math.log2(density * 2 / 255), rel=1e-3)


@pytest.mark.parametrize("kind", ["eps", "x0", "v"])
def test_the_bound_trains_the_variance_and_leaves_the_mean_alone(kind: Any) -> None:
    p = Parameterization(kind=kind, learned_variance=True)
    mean = torch.full((4, 3, 2, 2), 0.1, requires_grad=True)
    fraction = torch.full((4, 3, 2, 2), 0.2, requires_grad=True)

    def gradients(weight: float) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        loss, metrics = diffusion_loss(
            lambda x, t: torch.cat([mean, fraction], dim=1),
            X0,
            Cosine(),
            p,
            DiffusionObjective(vlb_weight=weight),
            BatchRng(3, 4),
        )
        of_mean, of_fraction = torch.autograd.grad(loss.sum(), [mean, fraction])
        return loss, of_mean, of_fraction, metrics

    loss, of_mean, of_fraction, metrics = gradients(0.001)
    plain, of_mean_alone, of_fraction_alone, _ = gradients(0.0)
    assert torch.equal(of_mean, of_mean_alone)
    assert of_mean.abs().min() > 0
    assert of_fraction.abs().min() > 0
    assert of_fraction.isfinite().all()
    assert not of_fraction_alone.any()
    # Improved DDPM's L_simple + 0.001 L_vlb, whose sum over 1000 steps is here a mean
    assert torch.allclose(loss, plain + metrics["vlb"], rtol=1e-5)


@pytest.mark.parametrize("width", [0.01, 0.3])
def test_huber_is_the_squared_error_of_small_errors_and_linear_in_large_ones(width: float) -> None:
    config, schedule = DiffusionObjective(huber=width), Cosine()
    p = Parameterization(kind="x0")
    for size in (width / 100, 100 * width):
        loss, metrics = diffusion_loss(
            lambda x, t, size=size: X0 + size, X0, schedule, p, config, BatchRng(3, len(X0))
        )
        want = size**2 / (2 * width) if size < width else size - width
        assert torch.allclose(loss, torch.full_like(loss, want), rtol=1e-2)
        assert torch.allclose(metrics["mse"], torch.full_like(loss, size**2), rtol=1e-2)


def test_huber_counts_what_is_in_the_mask_alone() -> None:
    config, schedule, p = DiffusionObjective(huber=0.1), Cosine(), Parameterization(kind="x0")
    counts = torch.zeros_like(X0[:, :1])
    counts[..., : X0.shape[-1] // 2] = 1
    said = X0 + torch.where(counts > 0, 0.001, 50.0)
    loss, _ = diffusion_loss(
        lambda x, t: said, X0, schedule, p, config, BatchRng(3, len(X0)), counts
    )
    assert torch.allclose(loss, torch.full_like(loss, 0.001**2 / 0.2), rtol=1e-2)
