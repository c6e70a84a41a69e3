"""Running a sampler backwards, from a picture to its noise."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from ..types import Denoiser, Level, Prediction
from .guidance import within


def implicit(denoise: Denoiser, levels: list[Level], rounds: int) -> Denoiser:
    """What DDIM needs in order to undo its own steps on the rising `levels`.

    A step from x at `then` down to x_now at `now` used eps(x, then); going up, that x is not
    known yet. It solves (the backward Euler method)

        x = alpha/alpha_now · (x_now − sigma_now·eps(x, then)) + sigma·eps(x, then)

    which is iterated from x = x_now, or the same in x0 where noise leads: one round is the usual
    DDIM inversion, a few make the step the sampler's inverse. The network is never asked about
    the clean level, where eps has no meaning.

    Args:
        denoise: as the sampler will be given it.
        levels: rising, from the clean one; the sampler must be given the same.
        rounds: calls of `denoise` a step, at least 1.
    """
    after = {_key(now): then for now, then in pairwise(levels)}

    def inverse(x: Tensor, now: Level) -> Prediction:
        then = after[_key(now)]
        alpha, sigma = now.like(x)
        alpha_then, sigma_then = then.like(x)
        if float(sigma) >= float(alpha):  # where noise leads, x0 is what hardly moves

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
    """Rising `levels` from the first that has so much noise, the last step at the least.

    Args:
        levels: rising, from the clean one.
        least: share of noise in the standard deviation of x_t, as `within` measures it.
    """
    enough = within(least, 1.0)
    first = next((at for at, level in enumerate(levels) if enough(level)), len(levels))
    return levels[max(0, min(first, len(levels) - 2)) :]


def fixed_point(fn: Callable[[Tensor], Tensor], value: Tensor, rounds: int) -> Tensor:
    """Solve value = fn(value) by Anderson's method, each sample by itself.

    Plain iteration crawls at low noise, where a step's map hardly contracts. Anderson's (1965)
    takes the combination of all rounds so far whose residual is smallest in least squares.

    Args:
        fn: (B, ...) -> (B, ...).
        value: (B, ...) where to begin.
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
    # rounding alone would decide where two rounds differ by next to nothing
    gram.diagonal(dim1=1, dim2=2).add_(1e-3 * gram.diagonal(dim1=1, dim2=2).mean(1, True) + 1e-12)
    weights = torch.linalg.solve(gram, slope.transpose(1, 2) @ residual[..., -1:])
    combined: Tensor = (image[..., -1:] - change @ weights)[..., 0]
    return combined


def _key(level: Level) -> tuple[float, float]:
    return float(level.t), float(level.sigma)
