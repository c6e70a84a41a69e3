"""LAION's diffusion prior as a stage: text and z_t in, z_i out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ...diffusion.guidance import map_x0
from ...diffusion.space import Embedding
from ...stages.prior import AnyPriorConfig, PriorStage
from ...stages.sampling import Sampling
from ...types import FREE, Cond, Control, Denoiser
from ._prior import LaionPriorConfig


class LaionPriorStageConfig(AnyPriorConfig):
    """The prior's configuration; defaults are DALLE2-pytorch's."""

    kind: Literal["laion_prior"] = "laion_prior"
    network: LaionPriorConfig
    space: Embedding = Embedding(scale=1.0, normalize=False)
    sampling: Sampling = Sampling(sampler="ddpm", steps=1000, eta=1.0)
    unit: bool = Field(False, description="make each guess of z_i a unit vector while sampling")


class LaionPrior(PriorStage):
    """The prior of DALLE2-pytorch. Its null hides the noised z_i together with the text.

    Weights of its version 1.1.0 have no null at all: guidance then changes nothing.
    """

    Config = LaionPriorStageConfig
    kind = "laion_prior"
    config: LaionPriorStageConfig

    def denoiser(self, cond: Cond, options: Sampling, control: Control = FREE) -> Denoiser:
        """As every diffusion stage's, and `unit` last."""
        denoise = super().denoiser(cond, options, control)
        return map_x0(denoise, self._unit) if self.config.unit else denoise

    def _unit(self, x0: Tensor) -> Tensor:
        return self.space.encode(F.normalize(x0, dim=-1))


STAGE = LaionPrior
