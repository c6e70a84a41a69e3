"""RePaint (arXiv 2201.09865): inpainting with a network that was not trained for it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor

from ...errors import UsageError
from ...rng import Rng
from ...types import Denoiser, Level
from .base import OnX0, Sampler


def repaint(run: Sampler, resample: int) -> Sampler:
    """`run` with each step repeated `resample` times, with noise added in between (algorithm 1).

    The denoiser keeps the known part (`map_x0(denoise, hold(known, mask))`); the repetitions adapt
    the painted part to it. The step to the clean level is done once. Multistep samplers (2M, UniPC)
    have no earlier steps here and are of first order.

    Raises:
        UsageError: `resample` is less than 1.
    """
    if resample < 1:
        raise UsageError(f"resample must be at least 1, got {resample}")

    def resampled(
        denoise: Denoiser,
        x: Tensor,
        levels: list[Level],
        rng: Rng,
        on_step: OnX0 | None = None,
        eta: float | None = None,
    ) -> Tensor:
        own: dict[str, Any] = {} if eta is None else {"eta": eta}
        plan = [
            (now, then, again)
            for now, then in pairwise(levels)
            for again in reversed(range(resample if then.sigma > 0 else 1))
        ]
        for index, (now, then, again) in enumerate(plan):
            report = on_step and _counted(on_step, index + 1, len(plan))
            x = run(denoise, x, [now, then], rng, report, **own)
            if again:
                x = _noised(x, then, now, rng)
        return x

    return resampled


def _counted(on_step: OnX0, index: int, total: int) -> OnX0:
    """Report progress in all steps to `on_step` instead of in one repetition."""
    return lambda _index, _total, x0: on_step(index, total, x0)


def _noised(x: Tensor, now: Level, then: Level, rng: Rng) -> Tensor:
    """A sample of q(x_then | x_now) at a noisier level."""
    alpha, sigma = now.like(x)
    alpha_then, sigma_then = then.like(x)
    ratio = alpha_then / alpha
    std = (sigma_then**2 - (ratio * sigma) ** 2).clamp(min=0).sqrt()
    return ratio * x + std * rng.randn(*x.shape[1:])
