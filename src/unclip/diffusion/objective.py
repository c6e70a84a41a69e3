"""Training objectives."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor

from ..config import Config
from ..rng import Rng
from ..types import Level, Prediction
from .few_steps import AdversarialObjective, ConsistencyObjective
from .parameterization import Parameterization, RawNet
from .samplers import posterior
from .schedule import Schedule
from .training_levels import EdmTraining, FlowTraining


class DiffusionObjective(Config):
    """Denoising: the truth is the data."""

    kind: Literal["diffusion"] = "diffusion"
    min_snr_gamma: float | None = Field(None, gt=0, description="min-SNR weighting; none is 1")
    v_gamma: float | None = Field(
        None, ge=1, description="weight of the error of v, 1 + SNR, at most this"
    )
    huber: float | None = Field(
        None, gt=0, description="error above which the loss is linear; none is the squared error"
    )
    edm: EdmTraining | None = Field(
        None, description="levels and weights as in EDM's training, in place of the schedule's"
    )
    flow: FlowTraining | None = Field(
        None, description="levels and weights as in flow matching, in place of the schedule's"
    )
    vlb_weight: float = Field(0.001, ge=0, description="of the bound of a learned variance")

    @model_validator(mode="after")
    def _one_weighting(self) -> Self:
        names = ("edm", "flow", "min_snr_gamma", "v_gamma")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) > 1 and given != ["min_snr_gamma", "v_gamma"]:
            raise ValueError(
                f"{given[0]} has weights of its own: leave out {' and '.join(given[1:])}"
            )
        return self

    @property
    def training(self) -> EdmTraining | FlowTraining | None:
        """What has levels and weights of its own, if anything."""
        return self.edm or self.flow

    def level(self, schedule: Schedule, rng: Rng) -> Level:
        """The levels to train on, fields (B,)."""
        if self.training is None:
            return schedule.sample(rng)
        return schedule.at_log_snr(self.training.log_snr(rng))


def by_name(value: object) -> object:
    """A kind's name alone stands for its usual settings; settings alone are diffusion's."""
    if isinstance(value, str):
        return {"kind": value}
    return {"kind": "diffusion", **value} if isinstance(value, dict) else value


ObjectiveConfig = Annotated[
    DiffusionObjective | ConsistencyObjective | AdversarialObjective,
    Field(discriminator="kind"),
    BeforeValidator(by_name),
]
"""What a diffusion stage learns from."""


def diffusion_loss(
    net: RawNet,
    x0: Tensor,
    schedule: Schedule,
    parameterization: Parameterization,
    config: DiffusionObjective,
    rng: Rng,
    counts: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Denoise `x0` at a random level.

    Args:
        net: (x in, t) -> output, with its conditioning bound.
        x0: (B, ...) clean data in diffusion space.
        rng: for the level and the noise.
        counts: how much each place counts, 0 to 1, to be broadcast against x0; None: all do alike.

    Returns:
        (B,) loss per sample, and metrics to log, (B,) each.
    """
    level = config.level(schedule, rng).to(x0.device)
    alpha, sigma = level.like(x0)
    eps = rng.randn(*x0.shape[1:])
    x = alpha * x0 + sigma * eps
    prediction = parameterization.denoiser(net)(x, level)
    squared = parameterization.error(prediction, x0, eps, level)
    error = masked_mean(squared if config.huber is None else huber(squared, config.huber), counts)
    weight = torch.ones_like(error)
    if config.min_snr_gamma is not None:
        weight = parameterization.snr_weight(level, config.min_snr_gamma).to(error.device)
    if config.v_gamma is not None:
        weight = weight * parameterization.v_weight(level, config.v_gamma).to(error.device)
    if config.training is not None:
        weight = parameterization.x0_weight(level, config.training.weight).to(error.device)
    loss, metrics = weight * error, {"mse": masked_mean(squared, counts).detach()}
    if prediction.variance is not None:
        bound = variance_bound(x, x0, prediction, level, schedule, counts)
        loss, metrics["vlb"] = loss + config.vlb_weight * 1000 * bound, bound.detach()
    return loss, metrics


def huber(squared: Tensor, width: float) -> Tensor:
    """Pseudo-Huber loss of a squared error: linear above `width` (arXiv 2310.14189, eq. 7)."""
    return (squared + width**2).sqrt() - width


def masked_mean(error: Tensor, counts: Tensor | None = None) -> Tensor:
    """(B, ...) -> (B,): the mean over the places that count; 0 where none does."""
    if counts is None:
        return error.flatten(1).mean(1)
    weight = counts.expand_as(error).flatten(1)
    return (weight * error.flatten(1)).sum(1) / weight.sum(1).clamp(min=1e-6)


def variance_bound(
    x: Tensor,
    x0: Tensor,
    prediction: Prediction,
    level: Level,
    schedule: Schedule,
    counts: Tensor | None = None,
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
    return masked_mean(torch.where(first, nll, kl), counts) / math.log(2)
