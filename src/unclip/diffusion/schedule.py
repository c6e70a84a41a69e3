"""Noise schedules: frozen objects that map t to (t, alpha, sigma)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cache
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..config import Config
from ..errors import UsageError
from ..rng import Rng
from ..types import Level
from .spacing import SPACINGS, line


class Schedule(Config, ABC):
    """Noise levels by timestep, and by an index from 0 (clean) to length - 1 (noise).

    On a discrete schedule the index is the timestep; fractions are between timesteps.
    """

    whole: ClassVar[bool]  # whether training saw whole indices only

    @abstractmethod
    def level(self, t: Tensor) -> Level:
        """The noise level at timesteps `t`, () or (B,)."""

    @abstractmethod
    def sample(self, rng: Rng) -> Level:
        """A random level per sample, for training: fields (B,)."""

    @abstractmethod
    def before(self, level: Level) -> Level:
        """The level one training step less noisy."""

    @property
    @abstractmethod
    def length(self) -> int:
        """The number of indices."""

    @abstractmethod
    def at(self, index: Tensor) -> Level:
        """The levels at indices, (N,) float64."""

    @abstractmethod
    def at_log_snr(self, log_snr: Tensor) -> Level:
        """The levels with given log(alpha²/sigma²), (N,) float64, fractions allowed."""

    def grid(self, steps: int, spacing: str = "uniform") -> list[Level]:
        """`steps` levels from noise to nearly clean, then the clean level: steps + 1 in all.

        `spacing` names one of SPACINGS.

        Raises:
            UsageError: less than one step, more than the schedule has, or an unknown spacing.
        """
        if steps < 1:
            raise UsageError(f"steps must be at least 1, got {steps}")
        if self.whole and steps > self.length:
            raise UsageError(
                f"steps must be at most {self.length}, the schedule's own, got {steps}"
            )
        levels = SPACINGS[spacing](self, steps)
        each = zip(levels.t, levels.alpha, levels.sigma, strict=True)
        end = self.at(torch.zeros((), dtype=torch.float64, device="cpu"))
        return [*(Level(*fields) for fields in each), clean(end.t)]

    def ends(self) -> Level:
        """The most and the least noisy level, (2,)."""
        return self.at(torch.tensor([self.length - 1.0, 0.0], dtype=torch.float64, device="cpu"))


class _Discrete(Schedule):
    """Variance-preserving, on `steps` discrete timesteps 0 (clean) to steps - 1 (noise)."""

    whole: ClassVar[bool] = True
    steps: int = Field(1000, ge=2, le=100_000)
    noisy: float = Field(
        1.0, gt=0, description="training uses u ** (1 / noisy) of the way to noise, u uniform"
    )
    last: Literal["clean", "first"] = Field(
        "clean", description="end of a grid; first: timestep 0, if not yet included"
    )

    def grid(self, steps: int, spacing: str = "uniform") -> list[Level]:
        """See `Schedule`. Stable Diffusion's published samples end at the first timestep."""
        levels = super().grid(steps, spacing)
        if self.last == "clean" or levels[-2].t < 0.5:
            return levels
        return [*levels[:-1], self.level(torch.zeros((), dtype=torch.float64, device="cpu"))]

    @property
    def length(self) -> int:
        """Every timestep."""
        return self.steps

    def betas(self) -> Tensor:
        """(steps,) float64."""
        raise AssertionError("each schedule gives its own")

    def alpha_bar(self) -> Tensor:
        """(steps,) float64: alpha squared, the cumulative product of 1 - beta."""
        return _alpha_bar(self)

    def level(self, t: Tensor) -> Level:
        """See `Schedule`. Between timesteps the log-SNR is linear in t.

        Raises:
            UsageError: t is outside the timesteps.
        """
        t = t.cpu().double()
        if t.numel() and not (float(t.min()) >= 0 and float(t.max()) <= self.steps - 1):
            raise UsageError(f"timestep {t} is outside 0 to {self.steps - 1}")
        low, high = t.floor().long(), t.ceil().long()
        bar = self.alpha_bar()
        between = torch.lerp(bar[low].logit(), bar[high].logit(), t - low).sigmoid()
        bar = torch.where(low == high, bar[low], between)  # whole timesteps exactly
        return Level(t.float(), bar.sqrt().float(), (1 - bar).sqrt().float())

    def at(self, index: Tensor) -> Level:
        """The index is the timestep."""
        return self.level(index)

    def at_log_snr(self, log_snr: Tensor) -> Level:
        """As fractional timesteps; outside the schedule its nearest end."""
        table, log_snr = -self.alpha_bar().logit(), log_snr.cpu()  # increasing in t
        right = torch.searchsorted(table, -log_snr).clamp(1, self.steps - 1)
        left = right - 1
        share = (-log_snr - table[left]) / (table[right] - table[left])
        return self.level(left + share.clamp(0, 1))

    def sample(self, rng: Rng) -> Level:
        """See `Schedule`. Uniform over the timesteps, or more often noisy ones."""
        place = rng.rand() ** (1 / self.noisy)
        index = (place * self.steps).long().clamp(max=self.steps - 1)
        table = _levels(self, index.device)
        return Level(table.t[index], table.alpha[index], table.sigma[index])

    def before(self, level: Level) -> Level:
        """See `Schedule`. Before timestep 0 comes the clean level."""
        previous = self.level((level.t - 1).clamp(min=0))
        first = level.t.cpu() < 0.5
        return Level(
            previous.t,
            torch.where(first, 1.0, previous.alpha),
            torch.where(first, 0.0, previous.sigma),
        )


class Cosine(_Discrete):
    """alpha_bar = cos²((t/T + s)/(1 + s) · π/2), betas at most 0.999 (Improved DDPM, eq. 17)."""

    kind: Literal["cosine"] = "cosine"
    offset: float = Field(0.008, ge=0)

    def betas(self) -> Tensor:
        """(steps,) float64."""
        u = torch.arange(self.steps + 1, dtype=torch.float64, device="cpu") / self.steps
        bar = torch.cos((u + self.offset) / (1 + self.offset) * math.pi / 2) ** 2
        return (1 - bar[1:] / bar[:-1]).clamp(max=0.999)


class Linear(_Discrete):
    """beta from 1e-4 to 0.02, rescaled so that any number of steps ends like 1000 (DDPM)."""

    kind: Literal["linear"] = "linear"
    beta_start: float = Field(1e-4, gt=0)
    beta_end: float = Field(0.02, gt=0)

    def betas(self) -> Tensor:
        """(steps,) float64."""
        scale = 1000 / self.steps
        start, end = self.beta_start * scale, self.beta_end * scale
        return line(start, end, self.steps).clamp(max=0.999)


class ScaledLinear(_Discrete):
    """The square root of beta is linear (latent diffusion, arXiv 2112.10752)."""

    kind: Literal["scaled_linear"] = "scaled_linear"
    beta_start: float = Field(0.00085, gt=0)
    beta_end: float = Field(0.012, gt=0, lt=1)

    def betas(self) -> Tensor:
        """(steps,) float64."""
        start, end = self.beta_start**0.5, self.beta_end**0.5
        return line(start, end, self.steps) ** 2


class Edm(Schedule):
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
    whole: ClassVar[bool] = False

    @property
    def length(self) -> int:
        """Nominal, as every sigma is a level: the length of the usual discrete schedule."""
        return 1000

    def level(self, t: Tensor) -> Level:
        """See `Schedule`."""
        t = t.float().cpu()
        return Level(t, torch.ones_like(t), (t / 250).exp())

    def of_sigma(self, sigma: Tensor) -> Level:
        """The level with this sigma."""
        return Level(250 * sigma.log(), torch.ones_like(sigma), sigma)

    def at(self, index: Tensor) -> Level:
        """EDM, eq. 5: the index is linear in the rho-th root of sigma."""
        a, b = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        root = b + index.cpu().double() / (self.length - 1) * (a - b)
        return self.of_sigma((root**self.rho).float())

    def at_log_snr(self, log_snr: Tensor) -> Level:
        """sigma from the log-SNR."""
        return self.of_sigma((-log_snr.cpu() / 2).exp().float())

    def sample(self, rng: Rng) -> Level:
        """See `Schedule`. Log-normal sigma."""
        return self.of_sigma((rng.randn().cpu() * self.p_std + self.p_mean).exp())

    def before(self, level: Level) -> Level:
        """One index closer to clean."""
        a, b = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        root = level.sigma.cpu() ** (1 / self.rho) - (a - b) / (self.length - 1)
        return self.of_sigma(root.clamp(min=b) ** self.rho)


ScheduleConfig = Annotated[Cosine | Linear | ScaledLinear | Edm, Field(discriminator="kind")]


def clean(t: Tensor) -> Level:
    """The end of every grid: alpha 1, sigma 0."""
    return Level(t, torch.ones_like(t), torch.zeros_like(t))


@cache
def _alpha_bar(schedule: _Discrete) -> Tensor:
    """Computed once per configuration: training needs it at every step."""
    # also if first called in inference mode: training needs a normal tensor
    with torch.inference_mode(False):
        return torch.cumprod(1 - schedule.betas(), dim=0)


@cache
def _levels(schedule: _Discrete, device: torch.device) -> Level:
    """The levels of all timesteps on the device of training, so a GPU never waits for the CPU."""
    with torch.inference_mode(False):
        return schedule.level(torch.arange(schedule.steps, device="cpu")).to(device)
