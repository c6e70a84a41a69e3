"""Noise schedules: frozen objects that speak (t, alpha, sigma)."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor

from ..config import Config
from ..errors import UsageError
from ..rng import Rng
from ..types import Level


class Schedule(Protocol):
    """What a sampler and an objective need of a schedule."""

    def level(self, t: Tensor) -> Level:
        """The noise level at timesteps `t`, () or (B,)."""
        ...

    def grid(self, steps: int) -> list[Level]:
        """`steps` levels from noise to nearly clean, then the clean level: steps + 1 in all."""
        ...

    def sample(self, rng: Rng) -> Level:
        """A random level a sample, for training: fields (B,)."""
        ...

    def before(self, level: Level) -> Level:
        """The level one training step less noisy."""
        ...


class _Discrete(Config):
    """Variance-preserving, on `steps` discrete timesteps 0 (clean) to steps - 1 (noise)."""

    steps: int = Field(1000, ge=2)

    def betas(self) -> Tensor:
        """(steps,) float64."""
        raise AssertionError("each schedule gives its own")

    def alpha_bar(self) -> Tensor:
        """(steps,) float64: alpha squared, the cumulative product of 1 - beta."""
        return torch.cumprod(1 - self.betas(), dim=0)

    def level(self, t: Tensor) -> Level:
        """See `Schedule`. Raises UsageError where t is not one of the timesteps."""
        index = t.round().long()
        if index.numel() and not (int(index.min()) >= 0 and int(index.max()) < self.steps):
            raise UsageError(f"timestep {t} is outside 0 to {self.steps - 1}")
        bar = self.alpha_bar()[index.cpu()]
        return Level(t.float().cpu(), bar.sqrt().float(), (1 - bar).sqrt().float())

    def grid(self, steps: int) -> list[Level]:
        """See `Schedule`. Evenly spaced, both ends included."""
        _check_steps(steps, self.steps)
        levels = self.level(torch.linspace(self.steps - 1, 0, steps).round())
        each = zip(levels.t, levels.alpha, levels.sigma, strict=True)
        return [Level(*fields) for fields in each] + [clean(torch.tensor(0.0))]

    def sample(self, rng: Rng) -> Level:
        """See `Schedule`. Uniform over the timesteps."""
        return self.level((rng.rand().cpu() * self.steps).floor())

    def before(self, level: Level) -> Level:
        """See `Schedule`. Before timestep 0 comes the clean level."""
        previous = self.level((level.t - 1).clamp(min=0))
        first = level.t.cpu() < 0.5
        return Level(
            previous.t,
            torch.where(first, torch.ones(()), previous.alpha),
            torch.where(first, torch.zeros(()), previous.sigma),
        )


class Cosine(_Discrete):
    """alpha_bar = cos²((t/T + s)/(1 + s) · π/2), betas at most 0.999 (Improved DDPM, eq. 17)."""

    kind: Literal["cosine"] = "cosine"
    offset: float = Field(0.008, ge=0)

    def betas(self) -> Tensor:
        """(steps,) float64."""
        u = torch.arange(self.steps + 1, dtype=torch.float64) / self.steps
        bar = torch.cos((u + self.offset) / (1 + self.offset) * math.pi / 2) ** 2
        return (1 - bar[1:] / bar[:-1]).clamp(max=0.999)


class Linear(_Discrete):
    """beta from 1e-4 to 0.02, rescaled so that any number of steps ends as 1000 do (DDPM)."""

    kind: Literal["linear"] = "linear"
    beta_start: float = Field(1e-4, gt=0)
    beta_end: float = Field(0.02, gt=0)

    def betas(self) -> Tensor:
        """(steps,) float64."""
        scale = 1000 / self.steps
        start, end = self.beta_start * scale, self.beta_end * scale
        return torch.linspace(start, end, self.steps, dtype=torch.float64).clamp(max=0.999)


class Edm(Config):
    """alpha = 1, sigma continuous, t = 250·ln(sigma) (EDM, arXiv 2206.00364, table 1).

    The paper's network input is ln(sigma)/4; a thousand times that suits timestep features made
    for 0 to 1000.
    """

    kind: Literal["edm"] = "edm"
    sigma_min: float = Field(0.002, gt=0)
    sigma_max: float = Field(80.0, gt=0)
    rho: float = Field(7.0, gt=0)
    p_mean: float = -1.2
    p_std: float = Field(1.2, gt=0)

    def level(self, t: Tensor) -> Level:
        """See `Schedule`."""
        t = t.float().cpu()
        return Level(t, torch.ones_like(t), (t / 250).exp())

    def of_sigma(self, sigma: Tensor) -> Level:
        """The level with this sigma."""
        return Level(250 * sigma.log(), torch.ones_like(sigma), sigma)

    def grid(self, steps: int) -> list[Level]:
        """See `Schedule`. EDM, eq. 5."""
        _check_steps(steps)
        ends = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        sigmas = torch.linspace(*ends, steps, dtype=torch.float64) ** self.rho
        return [self.of_sigma(sigma.float()) for sigma in sigmas] + [
            clean(self.of_sigma(torch.tensor(self.sigma_min)).t)
        ]

    def sample(self, rng: Rng) -> Level:
        """See `Schedule`. Log-normal sigma."""
        return self.of_sigma((rng.randn().cpu() * self.p_std + self.p_mean).exp())

    def before(self, level: Level) -> Level:
        """A thousandth of the grid's length nearer to clean."""
        a, b = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        root = level.sigma.cpu() ** (1 / self.rho) - (a - b) / 999
        return self.of_sigma(root.clamp(min=b) ** self.rho)


ScheduleConfig = Annotated[Cosine | Linear | Edm, Field(discriminator="kind")]


def clean(t: Tensor) -> Level:
    """The end of every grid: alpha 1, sigma 0."""
    return Level(t, torch.tensor(1.0), torch.tensor(0.0))


def _check_steps(steps: int, most: int | None = None) -> None:
    if steps < 1:
        raise UsageError(f"steps must be at least 1, got {steps}")
    if most is not None and steps > most:
        raise UsageError(f"steps must be at most {most}, the schedule's own, got {steps}")
