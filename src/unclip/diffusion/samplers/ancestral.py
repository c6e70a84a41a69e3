"""The samplers of DDPM's family: each step is a Gaussian around a mean."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from ...rng import Rng
from ...types import Denoiser, Level, Prediction
from .base import OnX0, check_direction, sampler, tell, zeros_or_noise


@sampler
def ddpm(
    denoise: Denoiser,
    x: Tensor,
    levels: list[Level],
    rng: Rng,
    on_step: OnX0 | None = None,
    eta: float = 1.0,
) -> Tensor:
    """Ancestral sampling (DDPM, arXiv 2006.11239, eq. 6 and 7).

    The variance is the posterior's, or where the network has learnt it the interpolation in the
    log domain (Improved DDPM, eq. 15), times eta². The last step, to the clean level, adds none.
    """
    check_direction(levels, eta, "ddpm", inverts=False)
    for index, (now, then) in enumerate(pairwise(levels)):
        prediction = denoise(x, now)
        mean, variance = posterior(x, prediction, now, then)
        x = mean + eta * variance.sqrt() * zeros_or_noise(x, then, rng)
        tell(on_step, index, levels, prediction)
    return x


@sampler
def ddim(
    denoise: Denoiser,
    x: Tensor,
    levels: list[Level],
    rng: Rng,
    on_step: OnX0 | None = None,
    eta: float = 0.0,
) -> Tensor:
    """DDIM (arXiv 2010.02502, eq. 12 and 16): eta 0 is deterministic, eta 1 is ancestral."""
    check_direction(levels, eta, "ddim")
    for index, (now, then) in enumerate(pairwise(levels)):
        prediction = denoise(x, now)
        alpha, sigma = then.like(x)
        # inversion (rising levels, eta 0) may start from the clean level, where this is 0 / 0
        fresh = eta * _ddim_std(now, then).to(x.device) if eta > 0 else torch.zeros_like(sigma)
        x = alpha * prediction.x0 + (sigma**2 - fresh**2).clamp(min=0).sqrt() * prediction.eps
        if eta > 0 and then.sigma > 0:
            x = x + fresh * rng.randn(*x.shape[1:])
        tell(on_step, index, levels, prediction)
    return x


@sampler
def analytic_dpm(
    denoise: Denoiser,
    x: Tensor,
    levels: list[Level],
    rng: Rng,
    on_step: OnX0 | None = None,
    eta: float = 1.0,
) -> Tensor:
    """DDPM with the optimal variance (Analytic-DPM, arXiv 2201.06503): the paper's prior's.

    That is the posterior's variance plus what not knowing x0 adds to it (theorem 1), times eta².
    A learned variance is not used. On the step to the last noisy level the variance is clipped as
    in the paper's experiments, but never below the posterior's.
    """
    check_direction(levels, eta, "analytic_dpm", inverts=False)
    for index, (now, then) in enumerate(pairwise(levels)):
        prediction = denoise(x, now)
        mean, least = posterior(x, Prediction(prediction.x0, prediction.eps), now, then)
        variance = least + _of_x0(x, now, then) ** 2 * uncertainty(prediction, now)
        if index == len(levels) - 3 and levels[-1].sigma == 0:
            variance = torch.maximum(least, variance.clamp(max=_LAST_STD**2))
        x = mean + eta * variance.sqrt() * zeros_or_noise(x, then, rng)
        tell(on_step, index, levels, prediction)
    return x


# E|noise| of at most two of 255 steps of a pixel in [-1, 1]; E|N(0, 1)| is the square root of 2/pi
_LAST_STD = 2 * 2 / 255 * math.sqrt(math.pi / 2)


def uncertainty(prediction: Prediction, level: Level) -> Tensor:
    """Estimate of the mean variance of x0 given x_t, (B, 1, ...), from each sample alone.

    With x̂0 and êps the predictions, its expectation is (sigma/alpha)²·(1 − E|êps|²/d), on which
    Analytic-DPM is built (theorem 1), and equally (sigma/alpha)·E<x̂0, êps>/d, because x̂0 is
    uncorrelated with x0 − x̂0. The paper averages the first over a data set beforehand. Here the
    d numbers of a sample stand for the data set, so that a sample depends neither on its batch nor
    on a file of statistics. The first estimate is sharp where there is little noise and the second
    where there is much: each counts by the inverse of its own variance. The result is clipped to
    what is possible (theorem 2): to (sigma/alpha)², and to 1 for data in [-1, 1] or of unit
    variance.
    """
    alpha, sigma = level.like(prediction.x0)
    noise = sigma / alpha.clamp(min=1e-4)
    by_eps = noise**2 * (1 - _mean(prediction.eps**2))
    by_both = noise * _mean(prediction.x0 * prediction.eps)
    power = _mean(prediction.x0**2)
    share = power / (power + 2 * noise**2)  # of the first: their variances are 2·noise⁴, noise²·x̂0²
    return (share * by_eps + (1 - share) * by_both).clamp(min=0).minimum((noise**2).clamp(max=1))


def posterior(x: Tensor, p: Prediction, now: Level, then: Level) -> tuple[Tensor, Tensor]:
    """Mean and variance of q(x_then | x_now, x0), shaped to broadcast against `x`."""
    alpha, sigma = now.like(x)
    alpha_then, sigma_then = then.like(x)
    ratio = alpha / alpha_then
    step = sigma**2 - ratio**2 * sigma_then**2  # variance of q(x_now | x_then)
    mean = (ratio * sigma_then**2 * x + alpha_then * step * p.x0) / sigma**2
    smallest = step * sigma_then**2 / sigma**2
    if p.variance is None:
        return mean, smallest
    # in the log domain, from the posterior's variance (fraction 0) to beta (fraction 1); the
    # floor, far below an 8-bit pixel, is met only on the step to the clean level
    low = smallest.clamp(min=1e-8).log()
    high = step.clamp(min=1e-8).log()
    return mean, (p.variance * high + (1 - p.variance) * low).exp()


def _of_x0(x: Tensor, now: Level, then: Level) -> Tensor:
    """The weight of x0 in the posterior's mean."""
    alpha, sigma = now.like(x)
    alpha_then, sigma_then = then.like(x)
    return alpha_then - (alpha / alpha_then) * alpha * sigma_then**2 / sigma**2


def _ddim_std(now: Level, then: Level) -> Tensor:
    """The noise that makes DDIM ancestral (arXiv 2010.02502, eq. 16), for any alpha and sigma."""
    step = now.sigma**2 - (now.alpha / then.alpha) ** 2 * then.sigma**2
    return (step.clamp(min=0)).sqrt() * then.sigma / now.sigma


def _mean(value: Tensor) -> Tensor:
    """Over all but the batch, (B, 1, ...)."""
    return value.flatten(1).mean(1).view(-1, *(1,) * (value.ndim - 1))
