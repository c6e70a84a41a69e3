"""Inversion: run a sampler backwards, from a picture to its noise."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from ..types import Denoiser, Level, Prediction
from .guidance import within


def implicit(denoise: Denoiser, levels: list[Level], rounds: int) -> Denoiser:
    """Wrap a denoiser so that DDIM on the rising `levels` undoes its own steps.

    A step from x at `then` down to x_now at `now` uses eps(x, then). In inversion this x is
    unknown. It solves (backward Euler method)

        x = alpha/alpha_now · (x_now − sigma_now·eps(x, then)) + sigma·eps(x, then)

    which is iterated from x = x_now, or in x0 where noise dominates. One round is the usual DDIM
    inversion; a few rounds make the step the exact inverse. The network is never evaluated at the
    clean level, where eps is undefined.

    Args:
        denoise: the denoiser.
        levels: rising, from the clean one; the same as for the sampler.
        rounds: calls of `denoise` per step, at least 1.
    """
    after = {_key(now): then for now, then in pairwise(levels)}

    def inverse(x: Tensor, now: Level) -> Prediction:
        then = after[_key(now)]
        alpha, sigma = now.like(x)
        alpha_then, sigma_then = then.like(x)
        if float(sigma) >= float(alpha):  # where noise dominates, x0 hardly changes

            def next_x0(x0: Tensor) -> Tensor:
                return denoise(alpha_then * x0 + sigma_then * (x - alpha * x0) / sigma, then).x0

            x0 = fixed_point(next_x0, denoise(x, then).x0, rounds - 1)
            return Prediction(x0, (x - alpha * x0) / sigma)

        ratio = alpha_then / alpha

        def next_eps(eps: Tensor) -> Tensor:
            return denoise(ratio * (x - sigma * eps) + sigma_then * eps, then).eps

        eps = fixed_point(next_eps, denoise(x, then).eps, rounds - 1)
        return Prediction((x - sigma * eps) / alpha, eps)

    return inverse


def noisy(levels: list[Level], least: float) -> list[Level]:
    """Rising `levels` from the first with that much noise; at least the last step.

    Args:
        levels: rising, from the clean one.
        least: share of noise in the standard deviation of x_t, as `within` measures it.
    """
    enough = within(least, 1.0)
    first = next((at for at, level in enumerate(levels) if enough(level)), len(levels))
    return levels[max(0, min(first, len(levels) - 2)) :]


def fixed_point(fn: Callable[[Tensor], Tensor], value: Tensor, rounds: int) -> Tensor:
    """Solve value = fn(value) by Anderson's method, separately for each sample.

    Plain iteration is slow at low noise, where the map hardly contracts. Anderson's method (1965)
    uses the combination of all rounds so far with the smallest residual (least squares).

    Args:
        fn: (B, ...) -> (B, ...).
        value: (B, ...) initial value.
        rounds: calls of `fn`.
    """
    images: list[Tensor] = []  # fn(value) of each round, (B, numbers)
    residuals: list[Tensor] = []
    for _ in range(rounds):
        image = fn(value)
        images.append(image.flatten(1))
        residuals.append((image - value).flatten(1))
        value = _combined(images, residuals).view_as(value)
    return value


def _combined(images: list[Tensor], residuals: list[Tensor]) -> Tensor:
    if len(images) == 1:
        return images[0]
    image, residual = torch.stack(images, dim=-1), torch.stack(residuals, dim=-1)  # (B, n, rounds)
    change, slope = image.diff(dim=-1), residual.diff(dim=-1)
    gram = slope.transpose(1, 2) @ slope  # (B, rounds - 1, rounds - 1)
    # regularised: otherwise rounding decides between rounds that hardly differ
    gram.diagonal(dim1=1, dim2=2).add_(1e-3 * gram.diagonal(dim1=1, dim2=2).mean(1, True) + 1e-12)
    weights = torch.linalg.solve(gram, slope.transpose(1, 2) @ residual[..., -1:])
    combined: Tensor = (image[..., -1:] - change @ weights)[..., 0]
    return combined


def _key(level: Level) -> tuple[float, float]:
    return float(level.t), float(level.sigma)
