"""Wrappers: each takes a denoiser and gives a denoiser."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..types import Denoiser, Level, Prediction


def cfg(denoise: Denoiser, scale: float) -> Denoiser:
    """Classifier-free guidance (arXiv 2207.12598) in one batched forward.

    Args:
        denoise: bound to 2B conditions, the B real ones and then the same ones dropped.
        scale: 1 is the plain condition, larger follows it more.

    Returns:
        A denoiser for B samples. A learned variance is the conditional one's.
    """

    def guided(x: Tensor, level: Level) -> Prediction:
        both = denoise(torch.cat([x, x]), level)
        cond_x0, null_x0 = both.x0.chunk(2)
        cond_eps, null_eps = both.eps.chunk(2)
        return Prediction(
            null_x0 + scale * (cond_x0 - null_x0),
            null_eps + scale * (cond_eps - null_eps),
            None if both.variance is None else both.variance.chunk(2)[0],
        )

    return guided


def map_x0(denoise: Denoiser, fn: Callable[[Tensor], Tensor]) -> Denoiser:
    """Change x0 by `fn` (clamp, threshold, project) and let eps follow, so that x_t still fits."""

    def mapped(x: Tensor, level: Level) -> Prediction:
        prediction = denoise(x, level)
        x0 = fn(prediction.x0)
        alpha, sigma = level.like(x)
        # from the change in x0, not from x_t: exact where nothing changes, also at sigma -> 0
        eps = prediction.eps - (alpha / sigma.clamp(min=1e-6)) * (x0 - prediction.x0)
        return Prediction(x0, eps, prediction.variance)

    return mapped


def clamp(limit: float = 1.0) -> Callable[[Tensor], Tensor]:
    """Static thresholding: x0 stays within ± limit."""
    return lambda x0: x0.clamp(-limit, limit)


def dynamic_threshold(quantile: float = 0.995, floor: float = 1.0) -> Callable[[Tensor], Tensor]:
    """Dynamic thresholding (Imagen, arXiv 2205.11487, section 2.3).

    Each sample's x0 is clamped to its own `quantile` of |x0|, at least `floor`, and divided by it.
    """

    def threshold(x0: Tensor) -> Tensor:
        size = torch.quantile(x0.flatten(1).abs(), quantile, dim=1).clamp(min=floor)
        size = size.view(-1, *(1,) * (x0.ndim - 1))
        return torch.maximum(torch.minimum(x0, size), -size) / size * floor

    return threshold
