"""What DALLE2-pytorch's `p_losses` computes, of our schedules, parameterizations and bound.

Its tables of noise, which its state dicts hold, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import Config
from ...diffusion.objective import variance_bound
from ...diffusion.parameterization import Parameterization
from ...diffusion.samplers.ancestral import posterior
from ...diffusion.schedule import Cosine, Linear
from ...stages import DiffusionStage
from ...types import Cond, Level, Prediction

ELEMENTWISE: dict[str, Callable[..., Tensor]] = {
    "l1": F.l1_loss,
    "l2": F.mse_loss,
    "huber": F.smooth_l1_loss,
}


class LossArguments(Config):
    """Arguments of a prior or a decoder that say what it learns from."""

    called: ClassVar[str] = "argument '{}'"

    loss_type: Literal["l1", "l2", "huber"] = "l2"
    vb_loss_weight: float = Field(0.001, ge=0)
    p2_loss_weight_gamma: float | tuple[float, ...] = 0.0
    p2_loss_weight_k: float = 1


def denoising_loss(
    stage: DiffusionStage,
    cond: Cond,
    x0: Tensor,
    times: Tensor,
    eps: Tensor,
    how: LossArguments,
    gamma: float = 0.0,
    finish: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """() the mean over a batch.

    Args:
        stage: with its network.
        cond: what the network sees, `keep_text` and `keep_image` included.
        x0: (B, ...) in diffusion space.
        times: (B,) whole timesteps.
        eps: (B, ...) the noise.
        how: the arguments.
        gamma: of the P2 weight (arXiv 2204.00227), 0 is none.
        finish: what is done to the network's output.
    """
    schedule, means = stage.config.schedule, stage.config.parameterization
    level = schedule.level(times).to(x0.device)
    alpha, sigma = level.like(x0)
    x = alpha * x0 + sigma * eps
    output = stage.bind(cond)(*means.inputs(x, level)).float()
    mean = output.chunk(2, dim=1)[0] if means.learned_variance else output
    mean = mean if finish is None else finish(mean)
    error = ELEMENTWISE[how.loss_type](mean, means.target(x0, eps, level), reduction="none")
    weight = (how.p2_loss_weight_k + level.snr().to(x0.device)) ** -gamma if gamma else 1.0
    loss = (error.flatten(1).mean(1) * weight).mean()
    if not means.learned_variance:
        return loss
    # an eps whatever the network puts out: there it is not told what it predicts
    as_eps = Parameterization(kind="eps", learned_variance=True)
    said = as_eps.denoiser(lambda *_: output)(x, level)
    bound = variance_bound(x, x0, said, level, schedule)
    first = times.to(x0.device) == 0
    if first.any():
        bound = bound.clone()
        bound[first] = _first_step(x[first], x0[first], _at(said, first), _of(level, first))
    return loss + how.vb_loss_weight * bound.mean()


def _at(said: Prediction, rows: Tensor) -> Prediction:
    assert said.variance is not None
    return Prediction(said.x0[rows].detach(), said.eps[rows].detach(), said.variance[rows])


def _of(level: Level, rows: Tensor) -> Level:
    return Level(level.t[rows], level.alpha[rows], level.sigma[rows])


def _first_step(x: Tensor, x0: Tensor, said: Prediction, level: Level) -> Tensor:
    """(B,) bits per dimension of 8-bit pixels at timestep 0 (DDPM, arXiv 2006.11239, eq. 13).

    The normal distribution is approximated by a hyperbolic tangent, as OpenAI's code does it; the
    variance lies between 1e-20 and beta, as it does there.
    """
    clean = Level(level.t, torch.ones_like(level.alpha), torch.zeros_like(level.sigma))
    mean, _ = posterior(x, Prediction(said.x0, said.eps), level, clean)
    beta = level.like(x)[1] ** 2
    assert said.variance is not None
    log_std = 0.5 * torch.lerp(torch.full_like(x, math.log(1e-20)), beta.log(), said.variance)
    off, scale = x0 - mean, torch.exp(-log_std)
    above, below = _cdf(scale * (off + 1 / 255)), _cdf(scale * (off - 1 / 255))
    chance = torch.where(x0 < -0.999, above, torch.where(x0 > 0.999, 1 - below, above - below))
    return -chance.clamp(min=1e-12).log().flatten(1).mean(1) / math.log(2)


def _cdf(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class NoiseTables(nn.Module):
    """A `NoiseScheduler`'s tables, for state dicts; what is loaded has to be the same."""

    def __init__(self, schedule: Any, gamma: float = 0.0, k: float = 1) -> None:
        super().__init__()
        assert isinstance(schedule, Cosine | Linear)
        for name, value in tables(schedule.betas(), gamma, k).items():
            self.register_buffer(name, value.float())

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *others: Any) -> None:
        for name, own in self.named_buffers():
            told = state_dict.get(prefix + name)
            if told is not None and not _alike(told, own):
                others[-1].append(f"{prefix}{name} is of other timesteps or another beta_schedule")
                state_dict[prefix + name] = own
        super()._load_from_state_dict(state_dict, prefix, *others)


def _alike(told: Tensor, own: Tensor) -> bool:
    return told.shape == own.shape and torch.allclose(told.to(own), own, rtol=1e-3, atol=1e-5)


def tables(betas: Tensor, gamma: float, k: float) -> dict[str, Tensor]:
    """What follows of (T,) float64 betas (DDPM, arXiv 2006.11239, eq. 4 and 7), by their names."""
    bar = torch.cumprod(1 - betas, dim=0)
    before = F.pad(bar[:-1], (1, 0), value=1.0)
    variance = betas * (1 - before) / (1 - bar)
    return {
        "betas": betas,
        "alphas_cumprod": bar,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": bar.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - bar).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - bar).log(),
        "sqrt_recip_alphas_cumprod": (1 / bar).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / bar - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - bar),
        "posterior_mean_coef2": (1 - before) * (1 - betas).sqrt() / (1 - bar),
        "p2_loss_weight": (k + bar / (1 - bar)) ** -gamma,
    }
