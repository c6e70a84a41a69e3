"""What a stage is: it reads some fields of a Cond and adds others."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from ..config import Config
from ..diffusion import samplers
from ..diffusion.guidance import cfg, clamp, dynamic_threshold, map_x0
from ..diffusion.objective import ObjectiveConfig, diffusion_loss
from ..diffusion.parameterization import Parameterization, RawNet
from ..diffusion.schedule import ScheduleConfig
from ..diffusion.space import SpaceConfig
from ..errors import UsageError
from ..rng import Rng
from ..types import Cond, Denoiser, OnStep, Step


class Sampling(Config):
    """How a diffusion stage is sampled."""

    sampler: str = "ddim"
    steps: int = Field(50, ge=1)
    guidance_scale: float = Field(1.0, ge=0, description="1 is none and costs half")
    eta: float | None = Field(
        None,
        ge=0,
        description="fresh noise: 0 deterministic, 1 ancestral; none is the sampler's own",
    )
    threshold: Literal["none", "clamp", "dynamic"] = "none"
    limit: float = Field(1.0, gt=0, description="what x0 is clamped to")

    def merge(self, changes: dict[str, Any]) -> Sampling:
        """A copy with the settings in `changes` that are not None. Raises UsageError.

        Another sampler comes with its own eta: DDPM with DDIM's 0 would never add noise.
        """
        known = {key: value for key, value in changes.items() if value is not None}
        kept = self.dump()
        if known.get("sampler", self.sampler) != self.sampler:
            del kept["eta"]
        return Sampling.parse({**kept, **known}, "sampling")


class StageConfig(Config):
    """What every stage's configuration has; `network` is refined by each stage."""

    kind: str


class Stage(nn.Module, ABC):
    """One link of the chain. `net` holds the weights, `config` says all that is not a weight."""

    Config: ClassVar[type[StageConfig]]
    kind: ClassVar[str]
    consumes: ClassVar[frozenset[str]]  # fields of Cond that `sample` needs
    produces: ClassVar[frozenset[str]]  # fields of Cond that it adds
    net: nn.Module

    @property
    @abstractmethod
    def image_size(self) -> int | None:
        """Side of the training pictures this stage wants; None where it sees none itself."""

    @property
    def trains_on(self) -> frozenset[str]:
        """Fields of Cond that `loss` needs: the condition, and the truth."""
        return self.consumes | self.produces

    @abstractmethod
    def sample(
        self,
        cond: Cond,
        rng: Rng,
        sampling: dict[str, Any] | None = None,
        on_step: OnStep | None = None,
    ) -> Cond:
        """Add what this stage produces.

        Args:
            cond: must hold every field in `consumes`.
            rng: one generator per sample.
            sampling: settings that differ from the stage's defaults; None values are skipped.
            on_step: told after each step.
        """

    @abstractmethod
    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """The training loss, (B,) a sample, and metrics (B,) or ()."""

    def with_net(self, net: nn.Module) -> Self:
        """This stage with other weights; everything else is shared."""
        other = copy.copy(self)
        other._modules = {**self._modules, "net": net}
        return other

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.net.parameters()).device


class DiffusionConfig(StageConfig):
    """A stage that samples by diffusion."""

    schedule: ScheduleConfig
    parameterization: Parameterization
    space: SpaceConfig
    sampling: Sampling = Sampling()
    objective: ObjectiveConfig = ObjectiveConfig()
    drop_text: float = Field(0.1, ge=0, le=1, description="share of samples without their text")
    drop_image: float = Field(0.1, ge=0, le=1, description="share of samples without their z_i")


class DiffusionStage(Stage):
    """Everything that diffusion stages share; a subclass gives the network and the shapes."""

    config: DiffusionConfig

    @abstractmethod
    def shape(self, cond: Cond) -> tuple[int, ...]:
        """Shape of one sample in diffusion space, batch left out."""

    def denoiser(self, cond: Cond, sampling: Sampling) -> Denoiser:
        """network -> parameterization -> guidance -> threshold, with `cond` bound."""
        guided = sampling.guidance_scale != 1.0
        bound = self.bind(cond.with_null() if guided else cond)
        denoise = self.config.parameterization.denoiser(bound)
        if guided:
            denoise = cfg(denoise, sampling.guidance_scale)
        if sampling.threshold == "clamp":
            denoise = map_x0(denoise, clamp(sampling.limit))
        elif sampling.threshold == "dynamic":
            denoise = map_x0(denoise, dynamic_threshold(floor=sampling.limit))
        return denoise

    def bind(self, cond: Cond) -> RawNet:
        """The network with its condition encoded once, in the network's own dtype."""
        dtype = next(self.net.parameters()).dtype
        encoded = self.net.encode(cond)  # type: ignore[operator]

        def net(x: Tensor, t: Tensor) -> Tensor:
            out: Tensor = self.net(x.to(dtype), t, encoded)
            return out

        return net

    @torch.inference_mode()
    def draw(
        self,
        cond: Cond,
        rng: Rng,
        sampling: dict[str, Any] | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Sample, and decode out of diffusion space: (B, ...)."""
        options = self.config.sampling.merge(sampling or {})
        levels = self.config.schedule.grid(options.steps)
        x = rng.randn(*self.shape(cond)) * levels[0].sigma.to(rng.device)
        report = partial(_report, self.kind, on_step) if on_step else None
        run = samplers.find(options.sampler)
        own = {} if options.eta is None else {"eta": options.eta}
        x = run(self.denoiser(cond, options), x, levels, rng, report, **own)
        return self.config.space.decode(x)

    def denoising_loss(
        self, cond: Cond, target: Tensor, rng: Rng
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Diffusion loss for `target` (B, ...) under `cond`, dropped at random as configured."""
        shown = cond.replace(
            keep_text=~rng.bernoulli(self.config.drop_text),
            keep_image=~rng.bernoulli(self.config.drop_image),
        )
        config = self.config
        x0 = config.space.encode(target)
        net = self.bind(shown)
        return diffusion_loss(
            net, x0, config.schedule, config.parameterization, config.objective, rng
        )


def check_channels(config: DiffusionConfig, in_channels: int, out_channels: int) -> None:
    """Raise UsageError unless the network's channels suit the parameterization."""
    want = in_channels * (2 if config.parameterization.learned_variance else 1)
    if out_channels != want:
        raise UsageError(
            f"{config.kind}: network.out_channels must be {want} with "
            f"learned_variance = {config.parameterization.learned_variance}, got {out_channels}"
        )


def _report(
    stage: str, on_step: Callable[[Step], None], index: int, total: int, x0: Tensor
) -> None:
    on_step(Step(stage, index, total, x0))
