"""An upsampler as a stage: a small picture in, a larger one out."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from ..config import Config
from ..diffusion.parameterization import Parameterization
from ..diffusion.schedule import Cosine, ScheduleConfig
from ..diffusion.space import Rgb, SpaceConfig
from ..nn.last_step import LastStep
from ..nn.unet import UNet, UNetConfig
from ..rng import Rng
from ..types import FREE, Cond, Control, OnStep
from .stage import DiffusionConfig, DiffusionStage, Sampling, check_channels, fit_known


class Corruption(Config):
    """What is done to the low-resolution picture in training, so that sampling forgives faults."""

    blur: float = Field(0.6, ge=0, description="sigma of a 3x3 Gaussian, in small pixels")
    blur_share: float = Field(0.5, ge=0, le=1, description="share of samples that are blurred")
    noise: float = Field(0.2, ge=0, description="largest standard deviation of added noise")
    at_sampling: float = Field(0.0, ge=0, le=1, description="noise level when sampling, 0 to 1")


class UpsamplerConfig(DiffusionConfig):
    """An upsampler's configuration."""

    kind: Literal["upsampler"] = "upsampler"
    network: UNetConfig
    low_res_size: int = Field(64, gt=0)
    crop: int | None = Field(None, gt=0, description="side of training crops; none is a quarter")
    corruption: Corruption = Corruption()
    enlarge: Literal["nearest", "bilinear", "bicubic"] = Field(
        "nearest", description="how the small picture is brought to the large one's size"
    )
    last_network: bool = Field(False, description="a network of its own for timestep 0")
    schedule: ScheduleConfig = Cosine()
    parameterization: Parameterization = Parameterization(kind="eps")
    space: SpaceConfig = Rgb()
    sampling: Sampling = Sampling(steps=27, threshold="clamp")
    drop_text: float = 0.0
    drop_image: float = 0.0

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        large, factor = self.network.image_size, self.network.image_size // self.low_res_size
        if large % self.low_res_size:
            raise ValueError(f"network.image_size {large} is not a multiple of low_res_size")
        unit, crop = math.lcm(factor, self.network.unit), self.crop or large // 4
        if crop > large or crop % unit:
            raise ValueError(f"crop {crop} is not a multiple of {unit} and {large} at most")
        for setting in ("align_dim", "text_of_clip"):
            if getattr(self.network, setting):
                raise ValueError(
                    f"network.{setting} is a decoder's; an upsampler has no use for it"
                )
        return self


class Upsampler(DiffusionStage):
    """Section 2.1 of arXiv 2204.06125: no attention, trained on crops, run at full size."""

    Config = UpsamplerConfig
    kind = "upsampler"
    consumes: frozenset[str] = frozenset({"image"})
    produces: frozenset[str] = frozenset({"image"})
    config: UpsamplerConfig
    net: UNet | LastStep

    def __init__(self, config: UpsamplerConfig) -> None:
        super().__init__()
        network = config.network
        check_channels(config, network.in_channels, network.out_channels)
        self.config = config
        self.factor = network.image_size // config.low_res_size
        self.net = LastStep(UNet(network), UNet(network)) if config.last_network else UNet(network)
        self.consumes = network.reads | {"image"}

    @property
    def image_size(self) -> int | None:
        """Side of its large pictures."""
        return self.config.network.image_size

    def shape(self, cond: Cond) -> tuple[int, ...]:
        """(3, H, W), `factor` times the small picture's."""
        assert cond.image is not None
        height, width = cond.image.shape[-2:]
        return (3, height * self.factor, width * self.factor)

    @torch.inference_mode()
    def sample(
        self,
        cond: Cond,
        rng: Rng,
        sampling: dict[str, Any] | None = None,
        on_step: OnStep | None = None,
        control: Control = FREE,
    ) -> Cond:
        """Replace `image` (B, 3, h, w) by one `factor` times as large."""
        assert cond.image is not None
        level = self._level(len(cond), rng.device)
        small = cond.image
        if self.config.corruption.at_sampling > 0:
            noise = rng.fork("low_res").randn(*small.shape[1:])
            small = small + self.config.corruption.noise * level.view(-1, 1, 1, 1) * noise
        bound = fit_known(cond, cond.image.shape[-1] * self.factor).replace(
            low_res=self._enlarge(small), low_res_level=level
        )
        return cond.replace(image=self.sample_data(bound, rng, sampling, on_step, control))

    @property
    def inpaints(self) -> bool:
        """True: the small picture already shows what belongs behind the mask."""
        return True

    def condition_for(self, cond: Cond, image: Tensor) -> Cond:
        """`cond` as this stage would need it to draw (B, 3, H, W) `image` itself."""
        small = F.interpolate(image, scale_factor=1 / self.factor, mode="area")
        level = self._level(len(image), image.device)
        return cond.replace(image=small, low_res=self._enlarge(small), low_res_level=level)

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Diffusion loss on random crops; the small picture is made from the crop and corrupted.

        What else the network reads is said of the whole picture.
        """
        assert cond.image is not None
        crop = self._crop(cond.image, rng)
        small = F.interpolate(crop, scale_factor=1 / self.factor, mode="area")
        level = rng.rand()
        low_res = self._enlarge(self.corrupt(small, level, rng))
        bound = cond.replace(low_res=low_res, low_res_level=level)
        return self.denoising_loss(bound, crop, rng)

    def corrupt(self, small: Tensor, level: Tensor, rng: Rng) -> Tensor:
        """Blur some of the (B, 3, h, w) pictures, then add noise of strength `level` (B,)."""
        options = self.config.corruption
        if options.blur > 0:
            shown = rng.bernoulli(options.blur_share).view(-1, 1, 1, 1)
            small = torch.where(shown, gaussian_blur(small, options.blur), small)
        noise = rng.randn(*small.shape[1:])
        return small + options.noise * level.view(-1, 1, 1, 1) * noise

    def _crop(self, image: Tensor, rng: Rng) -> Tensor:
        """One random crop a sample, aligned to small pixels: (B, 3, crop, crop)."""
        side = self.config.crop or image.shape[-1] // 4
        places = (image.shape[-1] - side) // self.factor + 1
        corner = (rng.rand(2) * places).long() * self.factor  # (B, 2)
        line = corner[:, :, None] + torch.arange(side, device=corner.device)  # (B, 2, crop)
        sample = torch.arange(len(image), device=corner.device)[:, None, None]
        # (B, crop, crop, 3), then the view that is channels_last
        return image[sample, :, line[:, 0, :, None], line[:, 1, None, :]].permute(0, 3, 1, 2)

    def _level(self, batch: int, device: torch.device) -> Tensor:
        """(B,): how corrupted the small picture is when sampling."""
        level = self.config.corruption.at_sampling
        return torch.full((batch,), level, dtype=torch.float32, device=device)

    def _enlarge(self, small: Tensor) -> Tensor:
        mode, factor = self.config.enlarge, float(self.factor)
        if mode == "nearest":
            return F.interpolate(small, scale_factor=factor, mode=mode)
        # float32: antialiased bicubic has no bfloat16 kernel on the CPU
        return F.interpolate(small.float(), scale_factor=factor, mode=mode, antialias=True)


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """3x3 Gaussian blur of (B, C, H, W), edges repeated."""
    place = torch.arange(-1.0, 2.0, dtype=torch.float32, device=image.device)
    taps = torch.exp(-(place**2) / (2 * sigma**2))
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    weight = kernel.expand(image.shape[1], 1, 3, 3).to(image.dtype)
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, weight, groups=image.shape[1])


STAGE = Upsampler
