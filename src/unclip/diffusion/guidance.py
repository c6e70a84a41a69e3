"""Guidance: functions that wrap a denoiser and return a denoiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import UsageError
from ..types import Denoiser, Level, Prediction
from .border import spread

TINT = 0.15
"""How far a picture's colours may be off and still be the same ones: 19 levels of 255."""


def combine(denoise: Denoiser, weights: Sequence[float], rescale: float = 0.0) -> Denoiser:
    """The weighted sum of the predictions under k conditions, in one batched forward.

    Args:
        denoise: bound to k·B conditions: all B of the first kind, then all of the second, ...
        weights: k numbers with sum 1, so that x0 and eps still add up to x_t.
        rescale: how far (0 to 1) the standard deviation of each sample's x0 is restored to that
            under the first condition (arXiv 2305.08891, section 3.4), against the
            oversaturation of large weights. eps changes with it, so that x_t stays the same.

    Returns:
        A denoiser for B samples, with the learned variance of the first condition.
    """

    def combined(x: Tensor, level: Level) -> Prediction:
        k = len(weights)
        every = denoise(x.repeat(k, *(1,) * (x.ndim - 1)), _repeat(level, k))
        x0s, epss = every.x0.chunk(k), every.eps.chunk(k)
        variance = None if every.variance is None else every.variance.chunk(k)[0]
        guided = Prediction(_sum(x0s, weights), _sum(epss, weights), variance)
        if rescale == 0:
            return guided
        factor = _std(x0s[0]) / _std(guided.x0).clamp(min=1e-6)
        return _moved(guided, guided.x0 * (1 + rescale * (factor - 1)), level)

    return combined


def cfg(
    denoise: Denoiser, scale: float, rescale: float = 0.0, weights: Sequence[float] = (1.0,)
) -> Denoiser:
    """Classifier-free guidance (arXiv 2207.12598): null + scale·(cond − null).

    Several conditions that are to hold at once add up (arXiv 2206.01714, eq. 11):

        null + scale·Σ weight·(cond − null)

    Args:
        denoise: bound to the conditions, B of each, and then to the first ones dropped.
        scale: 1 is the plain condition, larger values follow it more.
        rescale: see `combine`.
        weights: one a condition.
    """
    scales = [scale * weight for weight in weights]
    return combine(denoise, (*scales, 1 - sum(scales)), rescale)


def cfg_two(
    denoise: Denoiser,
    text_scale: float,
    image_scale: float,
    rescale: float = 0.0,
    weights: Sequence[float] = (1.0,),
) -> Denoiser:
    """Guidance with separate scales for two conditions (InstructPix2Pix, arXiv 2211.09800, eq. 3).

        none + image_scale·(image − none) + text_scale·(both − image)

    Equal scales give `cfg` with both conditions.

    Args:
        denoise: bound to conditions, B of each: text and image embedding, as often as there are
            weights, image embedding only, neither.
        text_scale: weight of the text, given the image embedding.
        image_scale: weight of the image embedding.
        rescale: see `combine`.
        weights: see `cfg`.
    """
    scales = [text_scale * weight for weight in weights]
    return combine(denoise, (*scales, image_scale - sum(scales), 1 - image_scale), rescale)


def switch(a: Denoiser, b: Denoiser, when: Callable[[Level], Tensor]) -> Denoiser:
    """`a` at levels where `when` is true, `b` at others; of a batch at several levels both run."""

    def denoise(x: Tensor, level: Level) -> Prediction:
        chosen = when(level)
        if not chosen.is_meta and (chosen.all() or not chosen.any()):
            return (a if chosen.all() else b)(x, level)
        one, other = a(x, level), b(x, level)
        mine = chosen.to(x.device).view(-1, *(1,) * (x.ndim - 1))
        x0, eps = torch.where(mine, one.x0, other.x0), torch.where(mine, one.eps, other.eps)
        if one.variance is None or other.variance is None:
            return Prediction(x0, eps)
        return Prediction(x0, eps, torch.where(mine, one.variance, other.variance))

    return denoise


def within(low: float, high: float) -> Callable[[Level], Tensor]:
    """Whether a level is in an interval of noise, including both ends.

    The measure is sigma/√(alpha² + sigma²), the share of noise in the standard deviation of x_t
    for data of unit variance: 0 is clean and 1 is pure noise. Guidance helps most at middle levels
    (arXiv 2404.07724): `switch(cfg(...), plain, within(low, high))`.

    Raises:
        UsageError: not 0 <= low <= high <= 1.
    """
    if not 0 <= low <= high <= 1:
        raise UsageError(f"an interval of noise needs 0 <= low <= high <= 1, got {low} to {high}")

    def when(level: Level) -> Tensor:
        here = level if level.alpha.is_meta else level.to("cpu")  # not every device has float64
        alpha, sigma = here.alpha.double(), here.sigma.double()
        share = sigma / torch.hypot(alpha, sigma)
        return (low <= share) & (share <= high)

    return when


def score_guided(
    denoise: Denoiser, score: Callable[[Tensor], Tensor], scale: float, data_std: float = 1.0
) -> Denoiser:
    """Sample from p(x0)·exp(scale·score(x0)), as in CLIP guidance.

    Classifier guidance (arXiv 2105.05233, algorithm 2; with CLIP: GLIDE, arXiv 2112.10741, section
    2.4) adds the gradient of log E[exp(scale·score(x0)) | x_t] to that of log p(x_t) = −eps/sigma:

        eps' = eps − sigma·g,     x0' = x0 + sigma²/alpha·g       (x_t stays the same)

    To first order in the scale, g is the gradient in x_t of scale·score(x̂0(x_t)), which is
    scale·J·∇score(x̂0) with J = ∂x̂0/∂x_t = alpha/sigma²·Cov[x0 | x_t] (Tweedie). Instead of
    backpropagation through the network, the covariance of Gaussian data with standard deviation s
    is used, v = s²·sigma²/(alpha²·s² + sigma²):

        x0' = x0 + v·scale·∇score,     eps' = eps − alpha·v/sigma·scale·∇score

    The gradient has full weight at pure noise and none where x0 is known, and there is no division
    by a small alpha or sigma. For Gaussian data and a linear score this is exact. The scale is that
    of the exponent: CLIP was trained with 100 times its cosine similarity as a log-likelihood.

    Args:
        denoise: with other guidance already applied; thresholds come later.
        score: x0 (B, ...) in diffusion space -> (B,). Called outside inference mode.
        scale: 0 disables it.
        data_std: s, standard deviation of the data in diffusion space. Stages leave it at 1,
            for pictures too, whose own is about 0.5: at high noise they push up to 4 times as far.
    """

    def guided(x: Tensor, level: Level) -> Prediction:
        prediction = denoise(x, level)
        alpha, sigma = level.like(x)
        push = scale * _gradient(score, prediction.x0)
        total = (alpha * data_std) ** 2 + sigma**2
        return Prediction(
            prediction.x0 + (data_std * sigma) ** 2 / total * push,
            prediction.eps - data_std**2 * alpha * sigma / total * push,
            prediction.variance,
        )

    return guided


def map_x0(denoise: Denoiser, fn: Callable[[Tensor], Tensor]) -> Denoiser:
    """Apply `fn` (clamp, threshold, project) to x0, and adjust eps to keep x_t."""

    def mapped(x: Tensor, level: Level) -> Prediction:
        prediction = denoise(x, level)
        return _moved(prediction, fn(prediction.x0), level)

    return mapped


def hold(known: Tensor, mask: Tensor) -> Callable[[Tensor], Tensor]:
    """For `map_x0`: keep `known` where `mask` is 0 and paint where it is 1, (B, ...) each."""
    return lambda x0: mask * x0 + (1 - mask) * known


def matched(denoise: Denoiser, known: Tensor, mask: Tensor, tint: float = TINT) -> Denoiser:
    """Bring x0 to what is known of it, (B, C, H, W) where `mask` is 0, before `hold`.

    What a network says of the known part differs from it, by a tint at least, and what it paints
    beside it has the same fault: the difference is carried on over the border, the more the less
    noise there is, so that holding what is known leaves no seam. Beyond `tint` it is no tint but
    another thing, and does not count as more.
    """

    def met(x: Tensor, level: Level) -> Prediction:
        prediction = denoise(x, level)
        alpha, sigma = level.like(x)
        off = spread((known - prediction.x0).clamp(-tint, tint), 1 - mask)
        share = alpha**2 / (alpha**2 + sigma**2)
        return _moved(prediction, prediction.x0 + share * off, level)

    return met


def clamp(limit: float = 1.0) -> Callable[[Tensor], Tensor]:
    """Static thresholding: clamp x0 to ± limit."""
    return lambda x0: x0.clamp(-limit, limit)


def dynamic_threshold(
    quantile: float = 0.995, floor: float = 1.0, ceiling: float | None = None
) -> Callable[[Tensor], Tensor]:
    """Dynamic thresholding (Imagen, arXiv 2205.11487, section 2.3).

    Each sample's x0 is clamped to its own `quantile` of |x0|, at least `floor` and at most
    `ceiling`, and divided by it.
    """

    def threshold(x0: Tensor) -> Tensor:
        size = _quantile(x0.flatten(1).abs(), quantile).clamp(floor, ceiling)
        size = size.view(-1, *(1,) * (x0.ndim - 1))
        return torch.maximum(torch.minimum(x0, size), -size) / size * floor

    return threshold


def _quantile(values: Tensor, q: float) -> Tensor:
    """(B, d) -> (B,), linear between neighbours; torch.quantile sorts, and refuses d > 2²⁴."""
    place = q * (values.shape[1] - 1)
    low, high = (
        values.kthvalue(k + 1, dim=1).values for k in (math.floor(place), math.ceil(place))
    )
    return low.lerp(high, place % 1)


def _gradient(score: Callable[[Tensor], Tensor], x0: Tensor) -> Tensor:
    """Gradient of each sample's score in its x0, (B, ...); works in torch.inference_mode()."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x0.detach().clone().requires_grad_()  # a clone is not an inference tensor
        return torch.autograd.grad(score(leaf).sum(), leaf)[0]


def _moved(prediction: Prediction, x0: Tensor, level: Level) -> Prediction:
    """The prediction with another x0, and the matching eps for the same x_t."""
    alpha, sigma = level.like(x0)
    # from the change in x0, not from x_t: exact without a change, also as sigma -> 0
    eps = prediction.eps - (alpha / sigma.clamp(min=1e-6)) * (x0 - prediction.x0)
    return Prediction(x0, eps, prediction.variance)


def _repeat(level: Level, k: int) -> Level:
    if level.alpha.ndim == 0:
        return level
    return Level(level.t.repeat(k), level.alpha.repeat(k), level.sigma.repeat(k))


def _sum(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    total = weights[0] * values[0]
    for value, weight in zip(values[1:], weights[1:], strict=True):
        total = total + weight * value
    return total


def _std(x0: Tensor) -> Tensor:
    """Standard deviation per sample, (B, 1, ...)."""
    return x0.flatten(1).std(1).view(-1, *(1,) * (x0.ndim - 1))
