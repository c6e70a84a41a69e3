"""Training objectives."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from ..config import Config
from ..rng import Rng
from ..types import Level, Prediction
from .parameterization import Parameterization, RawNet
from .samplers import posterior
from .schedule import Schedule


class ObjectiveConfig(Config):
    """Weights of the loss."""

    min_snr_gamma: float | None = Field(None, gt=0, description="min-SNR weighting; none is 1")
    v_gamma: float | None = Field(
        None, ge=1, description="weight of the error of v, 1 + SNR, at most this"
    )
    vlb_weight: float = Field(0.001, ge=0, description="of the bound of a learned variance")


def diffusion_loss(
    net: RawNet,
    x0: Tensor,
    schedule: Schedule,
    parameterization: Parameterization,
    config: ObjectiveConfig,
    rng: Rng,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Denoise `x0` at a random level.

    Args:
        net: (x in, t) -> output, with its conditioning bound.
        x0: (B, ...) clean data in diffusion space.
        rng: for the level and the noise.

    Returns:
        (B,) loss per sample, and metrics to log, (B,) each.
    """
    level = schedule.sample(rng).to(x0.device)
    alpha, sigma = level.like(x0)
    eps = rng.randn(*x0.shape[1:])
    x = alpha * x0 + sigma * eps
    prediction = parameterization.denoiser(net)(x, level)
    error = parameterization.error(prediction, x0, eps, level).flatten(1).mean(1)  # (B,)
    weight = torch.ones_like(error)
    if config.min_snr_gamma is not None:
        weight = parameterization.snr_weight(level, config.min_snr_gamma).to(error.device)
    if config.v_gamma is not None:
        weight = weight * parameterization.v_weight(level, config.v_gamma).to(error.device)
    loss, metrics = weight * error, {"mse": error.detach()}
    if prediction.variance is not None:
        bound = variance_bound(x, x0, prediction, level, schedule)
        loss, metrics["vlb"] = loss + config.vlb_weight * 1000 * bound, bound.detach()
    return loss, metrics


def variance_bound(
    x: Tensor, x0: Tensor, prediction: Prediction, level: Level, schedule: Schedule
) -> Tensor:
    """(B,) the term of the variational bound at `level` in bits per dimension, for the variance.

    Improved DDPM (arXiv 2102.09672, section 3.1): the mean is detached. The term at the first
    timestep is the Gaussian's log-likelihood of x0 at the spacing of 8-bit pixels.
    """
    then = schedule.before(level).to(x.device)
    fixed = Prediction(prediction.x0.detach(), prediction.eps.detach(), prediction.variance)
    mean, variance = posterior(x, fixed, level, then)
    true_mean, true_variance = posterior(x, Prediction(x0, prediction.eps), level, then)
    log_ratio = variance.log() - true_variance.clamp(min=1e-8).log()
    kl = 0.5 * (log_ratio - 1 + (-log_ratio).exp() + (true_mean - mean) ** 2 / variance)
    nll = 0.5 * (math.log(2 * math.pi) + variance.log() + (x0 - mean) ** 2 / variance)
    nll = nll - math.log(2 / 255)
    first = (then.like(x)[1] == 0).expand_as(kl)
    return torch.where(first, nll, kl).flatten(1).mean(1) / math.log(2)
