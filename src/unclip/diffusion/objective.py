"""Training objectives."""

from __future__ import annotations

import math
from operator import itemgetter
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import BeforeValidator, Field, PositiveInt, field_validator, model_validator
from torch import Tensor

from ..config import Config, Share
from ..rng import Rng
from ..types import Level, Prediction
from .limits import Limits
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


class ConsistencyObjective(Config):
    """Consistency distillation: the truth is a guided teacher's path. See `consistency`."""

    kind: Literal["consistency"] = "consistency"
    teacher: str | None = Field(
        "from",
        description="stage of the recipe whose path is learnt; from: what this one is taken from",
    )
    guidance_scale: float | None = Field(
        None, ge=0, description="of the teacher; none is what it samples with"
    )
    levels: int = Field(32, ge=2, description="levels of the path, evenly spaced")
    parts: int = Field(
        1,
        ge=1,
        description="equal parts of the path: the student learns to go to the end of each, and "
        "draws in so many steps or a multiple",
    )
    noise_share: float = Field(0.4, ge=0, le=1, description="of samples that begin at pure noise")
    own_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="of samples that begin at the student's own picture, noised again, as its "
        "second step does",
    )
    own_level: float = Field(
        0.5, gt=0, lt=1, description="where on the path that is, 0 pure noise to 1 clean"
    )
    strides: tuple[tuple[Share, PositiveInt], ...] = Field(
        ((0.0, 4), (1 / 3, 2), (0.7, 1)),
        description="(share of the training done, levels that the teacher's step then spans)",
    )
    v_gamma: float = Field(5.0, ge=1, description="weight of the error, 1 + SNR, at most this")
    huber: float = Field(0.03, gt=0, description="error above which the loss is linear")
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _equal_parts(self) -> Self:
        if self.levels % self.parts:
            raise ValueError(f"{self.levels} levels have no {self.parts} equal parts")
        if self.parts > 1 and self.own_share:
            raise ValueError(
                "own_share must be 0 with parts: a student of parts goes on from where its last "
                "step led to, and noises no picture of its own again"
            )
        return self

    @model_validator(mode="after")
    def _own_level_between(self) -> Self:
        place = self.own_place
        if not 0 < place < self.levels:
            end = "clean" if place else "pure noise"
            raise ValueError(
                f"own_level {self.own_level:g} of {self.levels} levels is {end}, level {place}: it "
                "must lie on a level between"
            )
        return self

    @property
    def own_place(self) -> int:
        """The level of `own_level`, 0 pure noise to `levels` clean."""
        return round(self.own_level * self.levels)

    def stride(self, progress: float) -> int:
        """How many levels the teacher's step spans when `progress` (0 to 1) is done."""
        return [levels for share, levels in self.strides if progress >= share][-1]

    @field_validator("strides")
    @classmethod
    def _from_the_start(cls, strides: tuple[tuple[float, int], ...]) -> Any:
        if not strides or strides[0][0] != 0 or list(strides) != sorted(strides, key=itemgetter(0)):
            raise ValueError("the shares must rise from 0")
        return strides


class AdversarialObjective(ConsistencyObjective):
    """A critic judges the student's pictures, beside consistency where there is a teacher.

    Without a teacher it is a generative adversarial network with CLIP's feedback, learnt from the
    pictures alone.
    """

    kind: Literal["adversarial"] = "adversarial"  # type: ignore[assignment]
    teacher: str | None = Field(
        None, description="stage of the recipe whose path is learnt, and whose features are judged"
    )
    consistency_weight: float = Field(1.0, ge=0, description="of the distance to the path's end")
    data_weight: float = Field(
        0.0, ge=0, description="of the distance to the data, of which an upsampler is shown much"
    )
    adversarial_weight: float = Field(0.5, ge=0, description="of what the critic says")
    clip_weight: float = Field(0.2, ge=0, description="of 1 - cos between picture and text in CLIP")
    embed_weight: float = Field(
        0.0, ge=0, description="of 1 - cos between picture and the z_i that it is drawn from"
    )
    critic: Literal["features", "patches", "whole"] = Field(
        "features",
        description="whether it looks through the teacher's features (without a teacher, a copy's "
        "that learns with it) and its own convolutions, or through these alone: at patches, or at "
        "the whole, for small pictures of which each has one thing",
    )
    critic_from: float = Field(
        0.0, ge=0, lt=1, description="share of the training that is done when the critic begins"
    )
    critic_width: int = Field(64, ge=1, description="channels of each of its heads")
    critic_rate: float = Field(1e-3, gt=0, description="the critic's learning rate")
    critic_sees: tuple[Share, Share] = Field(
        (0.25, 1.0), description="part of the path, 0 pure noise to 1 clean, that it looks at"
    )
    penalty: float = Field(1.0, ge=0, description="of the critic's change by a little noise")
    penalty_noise: float = Field(0.03, gt=0, description="standard deviation of that noise")
    mismatch: float = Field(1.0, ge=0, description="weight of true pictures of another text")
    largest_gap: float = Field(
        4.0, gt=0, description="between true and made pictures; beyond it training stops"
    )

    @model_validator(mode="after")
    def _learns_something_first(self) -> Self:
        if self.critic_from and not (self.data_weight or self.teacher):
            raise ValueError("critic_from needs a data_weight, or a teacher, to learn from before")
        return self


def _by_name(value: object) -> object:
    """A kind's name alone stands for its usual settings; settings alone are diffusion's."""
    if isinstance(value, str):
        return {"kind": value}
    return {"kind": "diffusion", **value} if isinstance(value, dict) else value


ObjectiveConfig = Annotated[
    DiffusionObjective | ConsistencyObjective | AdversarialObjective,
    Field(discriminator="kind"),
    BeforeValidator(_by_name),
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
    error = masked_mean(parameterization.error(prediction, x0, eps, level), counts)  # (B,)
    weight = torch.ones_like(error)
    if config.min_snr_gamma is not None:
        weight = parameterization.snr_weight(level, config.min_snr_gamma).to(error.device)
    if config.v_gamma is not None:
        weight = weight * parameterization.v_weight(level, config.v_gamma).to(error.device)
    if config.training is not None:
        weight = parameterization.x0_weight(level, config.training.weight).to(error.device)
    loss, metrics = weight * error, {"mse": error.detach()}
    if prediction.variance is not None:
        bound = variance_bound(x, x0, prediction, level, schedule, counts)
        loss, metrics["vlb"] = loss + config.vlb_weight * 1000 * bound, bound.detach()
    return loss, metrics


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
