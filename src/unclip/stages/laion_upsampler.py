"""LAION's upsampler as a stage: a small picture in, a larger one out."""

from __future__ import annotations

from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from ..diffusion.parameterization import Parameterization
from ..diffusion.schedule import Linear, ScheduleConfig
from ..diffusion.space import Rgb
from ..nn.laion_unet import LaionUNet, LaionUNetConfig
from ..rng import Rng
from ..types import FREE, Cond, Control, OnStep
from .stage import DiffusionConfig, DiffusionStage, Sampling, check_channels, fit_known
from .upsampler import Upsampler, gaussian_blur


class LaionUpsamplerConfig(DiffusionConfig):
    """The upsampler's configuration; defaults are DALLE2-pytorch's."""

    kind: Literal["laion_upsampler"] = "laion_upsampler"
    network: LaionUNetConfig
    low_res_size: int = Field(64, gt=0)
    noise_schedule: Linear = Field(Linear(), description="what noise in the small picture means")
    noise_level: float = Field(0.2, ge=0, lt=1, description="of it when sampling, where it has any")
    blur: float = Field(0.6, ge=0, description="sigma of a 3x3 Gaussian in training")
    blur_share: float = Field(0.5, ge=0, le=1, description="share of samples that are blurred")
    schedule: ScheduleConfig = Linear()
    parameterization: Parameterization = Parameterization(kind="eps")
    space: Rgb = Rgb()
    sampling: Sampling = Sampling(sampler="ddpm", steps=1000, eta=1.0, threshold="clamp")
    drop_text: float = 0.5
    drop_image: float = 0.1

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if not self.network.low_res:
            raise ValueError("network.low_res is off, but an upsampler looks at a small picture")
        if self.network.image_size % self.low_res_size:
            raise ValueError(
                f"network.image_size {self.network.image_size} is not a multiple of low_res_size"
            )
        return self


class LaionUpsampler(Upsampler):
    """A later U-Net of DALLE2-pytorch's decoder: it looks at what the one before it drew.

    The small picture is enlarged by nearest neighbours and then, in one variant, noised by a
    known amount (Imagen, arXiv 2205.11487, section 2.4).
    """

    Config = LaionUpsamplerConfig  # type: ignore[assignment]
    kind = "laion_upsampler"
    config: LaionUpsamplerConfig  # type: ignore[assignment]
    net: LaionUNet  # type: ignore[assignment]

    def __init__(self, config: LaionUpsamplerConfig) -> None:
        DiffusionStage.__init__(self)
        check_channels(config, config.network.in_channels, config.network.out_channels)
        self.config = config
        self.factor = config.network.image_size // config.low_res_size
        self.net = LaionUNet(config.network)
        self.consumes = config.network.reads | {"image"}

    @torch.inference_mode()
    def sample(
        self,
        cond: Cond,
        rng: Rng,
        sampling: dict[str, Any] | None = None,
        on_step: OnStep | None = None,
        control: Control = FREE,
    ) -> Cond:
        """Replace `image` (B, 3, h, w) by a larger one."""
        assert cond.image is not None
        level = self._level_at_sampling(cond.image)
        bound = fit_known(cond, cond.image.shape[-1] * self.factor).replace(
            low_res=self.noised(self._enlarge(cond.image), level, rng.fork("low_res")),
            low_res_level=level,
        )
        return cond.replace(image=self.sample_data(bound, rng, sampling, on_step, control))

    def condition_for(self, cond: Cond, image: Tensor) -> Cond:
        """`cond` as this stage would need it to draw (B, 3, H, W) `image` itself."""
        small = self._shrunk(image)
        level = self._level_at_sampling(image)
        return cond.replace(image=small, low_res=self._enlarge(small), low_res_level=level)

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Diffusion loss; the small picture is made from the large one, blurred and noised."""
        assert cond.image is not None
        small = self._shrunk(cond.image)
        if self.config.blur > 0:
            shown = rng.bernoulli(self.config.blur_share).view(-1, 1, 1, 1)
            small = torch.where(shown, gaussian_blur(small, self.config.blur), small)
        steps = self.config.noise_schedule.steps
        level = (rng.rand() * steps).floor() / steps
        low_res = self.noised(self._enlarge(small), level, rng)
        bound = cond.replace(low_res=low_res, low_res_level=level)
        return self.denoising_loss(bound, cond.image, rng)

    def noised(self, large: Tensor, level: Tensor, rng: Rng) -> Tensor:
        """(B, 3, H, W) with noise of `level` (B,) 0 to 1, where the network expects any."""
        if not self.config.network.low_res_noise:
            return large
        steps = self.config.noise_schedule.steps
        alpha, sigma = self.config.noise_schedule.level((level * steps).round()).like(large)
        return alpha * large + sigma * rng.randn(*large.shape[1:])

    def _level_at_sampling(self, image: Tensor) -> Tensor:
        """(B,), a whole step of the noise's schedule."""
        steps = self.config.noise_schedule.steps
        level = int(self.config.noise_level * steps) / steps
        return torch.full((len(image),), level, dtype=torch.float32, device=image.device)

    def _enlarge(self, small: Tensor) -> Tensor:
        return F.interpolate(small, scale_factor=float(self.factor), mode="nearest")

    def _shrunk(self, image: Tensor) -> Tensor:
        return F.interpolate(image, scale_factor=1 / self.factor, mode="area")


STAGE = LaionUpsampler
