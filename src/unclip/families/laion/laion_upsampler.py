"""LAION's upsampler as a stage: a small picture in, a larger one out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ...diffusion.parameterization import Parameterization
from ...diffusion.schedule import Linear, ScheduleConfig
from ...rng import Rng
from ...stages.sampling import DropImage, DropText, Sampling
from ...stages.upsampler import AnyUpsampler, AnyUpsamplerConfig
from ...types import Cond
from ._unet import LaionUNetConfig


class LaionUpsamplerConfig(AnyUpsamplerConfig):
    """The upsampler's configuration; defaults are DALLE2-pytorch's."""

    kind: Literal["laion_upsampler"] = "laion_upsampler"
    network: LaionUNetConfig
    noise_schedule: Linear = Field(Linear(), description="what noise in the small picture means")
    noise_level: float = Field(0.2, ge=0, lt=1, description="of it when sampling, where it has any")
    blur: float = Field(0.6, ge=0, description="sigma of a 3x3 Gaussian in training")
    blur_share: float = Field(0.5, ge=0, le=1, description="share of samples that are blurred")
    schedule: ScheduleConfig = Linear()
    parameterization: Parameterization = Parameterization(kind="eps")
    sampling: Sampling = Sampling(sampler="ddpm", steps=1000, eta=1.0, threshold="clamp")
    drop_text: DropText = 0.5
    drop_image: DropImage = 0.1


class LaionUpsampler(AnyUpsampler):
    """A later U-Net of DALLE2-pytorch's decoder: it looks at what the one before it drew.

    The small picture is enlarged by nearest neighbours and then, in one variant, noised by a
    known amount (Imagen, arXiv 2205.11487, section 2.4).
    """

    Config = LaionUpsamplerConfig
    kind = "laion_upsampler"
    config: LaionUpsamplerConfig

    @property
    def level_at_sampling(self) -> float:
        """A whole step of the noise's schedule."""
        steps = self.config.noise_schedule.steps
        return int(self.config.noise_level * steps) / steps

    def shown(self, small: Tensor, level: Tensor, rng: Rng) -> Tensor:
        """Enlarged, then noised as the schedule has it, where the network expects any."""
        large = self.enlarged(small)
        if not self.config.network.low_res_noise:
            return large
        steps = self.config.noise_schedule.steps
        alpha, sigma = self.config.noise_schedule.level((level * steps).round()).like(large)
        return alpha * large + sigma * rng.randn(*large.shape[1:])

    def enlarged(self, small: Tensor) -> Tensor:
        """By nearest neighbours."""
        return F.interpolate(small, scale_factor=float(self.factor), mode="nearest")

    def example(self, cond: Cond, rng: Rng) -> tuple[Cond, Tensor]:
        """The picture, and a small one made from it, blurred and noised."""
        assert cond.image is not None
        small = self.shrunk(cond.image)
        small = self.blurred(small, self.config.blur, self.config.blur_share, rng)
        steps = self.config.noise_schedule.steps
        level = (rng.rand() * steps).floor() / steps
        bound = cond.replace(low_res=self.shown(small, level, rng), low_res_level=level)
        return bound, self.space.encode(cond.image)


STAGE = LaionUpsampler
