"""RePaint (arXiv 2201.09865): inpainting with a network that was never trained for it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor

from ...errors import UsageError
from ...rng import Rng
from ...types import Denoiser, Level
from .base import OnX0, Sampler


def repaint(run: Sampler, resample: int) -> Sampler:
    """`run` with each step taken `resample` times, noised again in between (algorithm 1).

    What is known is the denoiser's business (`map_x0(denoise, hold(known, mask))`); the
    repetitions give the painted part time to agree with it. The step to the clean level is taken
    once. A sampler that remembers earlier steps (2M, UniPC) has none here and is of first order.

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
    """Tell `on_step` of the place in the whole work instead of the one step that it was."""
    return lambda _index, _total, x0: on_step(index, total, x0)


def _noised(x: Tensor, now: Level, then: Level, rng: Rng) -> Tensor:
    """A draw from q(x_then | x_now) on the way up, to a noisier level."""
    alpha, sigma = now.like(x)
    alpha_then, sigma_then = then.like(x)
    ratio = alpha_then / alpha
    std = (sigma_then**2 - (ratio * sigma) ** 2).clamp(min=0).sqrt()
    return ratio * x + std * rng.randn(*x.shape[1:])
