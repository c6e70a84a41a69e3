"""The DDPM family of samplers: each step samples a Gaussian."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...types import Level, Prediction
from .base import Walk, sampler, zeros_or_noise


@sampler(eta=1.0, inverts=False)
def ddpm(walk: Walk, x: Tensor, said: Prediction, now: Level, then: Level) -> Tensor:
    """Ancestral sampling (DDPM, arXiv 2006.11239, eq. 6 and 7).

    The variance is that of the posterior, or a learned one, interpolated in the log domain
    (Improved DDPM, eq. 15), times eta². The last step, to the clean level, adds no noise.
    """
    mean, variance = posterior(x, said, now, then)
    return mean + walk.eta * variance.sqrt() * zeros_or_noise(x, then, walk.rng)


@sampler(eta=0.0)
def ddim(walk: Walk, x: Tensor, said: Prediction, now: Level, then: Level) -> Tensor:
    """DDIM (arXiv 2010.02502, eq. 12 and 16): eta 0 is deterministic, eta 1 is ancestral."""
    alpha, sigma = then.like(x)
    # inversion (rising levels, eta 0) may start from the clean level, where this is 0 / 0
    is_noisy = walk.eta > 0
    fresh = walk.eta * _ddim_std(now, then).to(x.device) if is_noisy else torch.zeros_like(sigma)
    x = alpha * said.x0 + (sigma**2 - fresh**2).clamp(min=0).sqrt() * said.eps
    return x + fresh * walk.rng.randn(*x.shape[1:]) if is_noisy and then.sigma > 0 else x


@sampler(eta=1.0, inverts=False)
def analytic_dpm(walk: Walk, x: Tensor, said: Prediction, now: Level, then: Level) -> Tensor:
    """DDPM with the optimal variance (Analytic-DPM, arXiv 2201.06503), used by the paper's prior.

    That is the variance of the posterior plus that of the unknown x0 (theorem 1), times eta². A
    learned variance is ignored. On the step to the last noisy level the variance is clipped as in
    the paper's experiments, but never below that of the posterior.
    """
    mean, least = posterior(x, Prediction(said.x0, said.eps), now, then)
    variance = least + _of_x0(x, now, then) ** 2 * uncertainty(said, now)
    if walk.index == len(walk.levels) - 3 and walk.levels[-1].sigma == 0:
        variance = torch.maximum(least, variance.clamp(max=_LAST_STD**2))
    return mean + walk.eta * variance.sqrt() * zeros_or_noise(x, then, walk.rng)


# E|noise| of at most two of 255 steps of a pixel in [-1, 1]; E|N(0, 1)| is the square root of 2/pi
_LAST_STD = 2 * 2 / 255 * math.sqrt(math.pi / 2)


def uncertainty(prediction: Prediction, level: Level) -> Tensor:
    """Estimate of the mean variance of x0 given x_t, (B, 1, ...), for each sample separately.

    For predictions x̂0 and êps its expectation is (sigma/alpha)²·(1 − E|êps|²/d), the basis of
    Analytic-DPM (theorem 1), and also (sigma/alpha)·E<x̂0, êps>/d, because x̂0 is
    uncorrelated with x0 − x̂0. The paper averages the first over a data set beforehand. Here the
    d values of one sample replace the data set, so a sample depends neither on its batch nor on a
    file of statistics. The first estimate is precise at low noise and the second at high noise;
    they are weighted by their inverse variances. The result is clipped to the possible range
    (theorem 2): to (sigma/alpha)², and to 1 for data in [-1, 1] or of unit variance.
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
    """The noise of ancestral DDIM (arXiv 2010.02502, eq. 16), for any alpha and sigma."""
    step = now.sigma**2 - (now.alpha / then.alpha) ** 2 * then.sigma**2
    return (step.clamp(min=0)).sqrt() * then.sigma / now.sigma


def _mean(value: Tensor) -> Tensor:
    """Mean over all but the batch, (B, 1, ...)."""
    return value.flatten(1).mean(1).view(-1, *(1,) * (value.ndim - 1))
