"""Samplers: pure functions (denoise, x, levels, rng, on_step) -> x.

Every formula is written for x_t = alpha·x0 + sigma·eps with any alpha and sigma, so the same
function serves variance-preserving and EDM schedules.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from ..errors import UsageError, nearest
from ..rng import Rng
from ..types import Denoiser, Level, Prediction

OnX0 = Callable[[int, int, Tensor], None]
"""(step from 1, steps, present x0), called after each step."""


class Sampler(Protocol):
    """x_T at `levels[0]` -> x at `levels[-1]`; `eta` is how much fresh noise goes in."""

    def __call__(
        self,
        denoise: Denoiser,
        x: Tensor,
        levels: list[Level],
        rng: Rng,
        on_step: OnX0 | None = None,
        eta: float = 0.0,
    ) -> Tensor: ...


SAMPLERS: dict[str, Sampler] = {}


def sampler(fn: Sampler) -> Sampler:
    """Register a sampler under its function's name."""
    SAMPLERS[fn.__name__] = fn  # type: ignore[attr-defined]
    return fn


def find(name: str) -> Sampler:
    """The sampler called `name`. Raises UsageError with the nearest name."""
    if name not in SAMPLERS:
        known = ", ".join(SAMPLERS)
        raise UsageError(f"unknown sampler '{name}'{nearest(name, SAMPLERS)}; known: {known}")
    return SAMPLERS[name]


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
    for index, (now, then) in enumerate(pairwise(levels)):
        prediction = denoise(x, now)
        mean, variance = posterior(x, prediction, now, then)
        noise = rng.randn(*x.shape[1:]) if then.sigma > 0 else torch.zeros_like(x)
        x = mean + eta * variance.sqrt() * noise
        _tell(on_step, index, levels, prediction)
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
    for index, (now, then) in enumerate(pairwise(levels)):
        prediction = denoise(x, now)
        alpha, sigma = then.like(x)
        # inversion (rising levels, eta 0) may start from the clean level, where this is 0 / 0
        fresh = eta * _ddim_std(now, then).to(x.device) if eta > 0 else torch.zeros_like(sigma)
        x = alpha * prediction.x0 + (sigma**2 - fresh**2).clamp(min=0).sqrt() * prediction.eps
        if eta > 0 and then.sigma > 0:
            x = x + fresh * rng.randn(*x.shape[1:])
        _tell(on_step, index, levels, prediction)
    return x


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


def _ddim_std(now: Level, then: Level) -> Tensor:
    """The noise that makes DDIM ancestral (arXiv 2010.02502, eq. 16), for any alpha and sigma."""
    step = now.sigma**2 - (now.alpha / then.alpha) ** 2 * then.sigma**2
    return (step.clamp(min=0)).sqrt() * then.sigma / now.sigma


def _tell(on_step: OnX0 | None, index: int, levels: list[Level], prediction: Prediction) -> None:
    if on_step is not None:
        on_step(index + 1, len(levels) - 1, prediction.x0)
