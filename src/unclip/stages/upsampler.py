"""An upsampler as a stage: a small picture in, a larger one out."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from ..config import Config, Share
from ..diffusion.parameterization import Parameterization
from ..diffusion.schedule import Cosine, ScheduleConfig
from ..diffusion.space import Rgb, SpaceConfig
from ..nn.conditioning import NetConfig
from ..nn.last_step import LastStep
from ..nn.sharpening import warp_sharpened
from ..rng import Rng
from ..types import Cond
from .degradation import Bsr, degraded
from .fitting import check_network
from .large import divided, divides, drawn_apart, window_by_window
from .masks import fit_known
from .networks import Network
from .sampling import DropImage, DropText, SampleArguments, Sampling
from .stage import DiffusionConfig, DiffusionStage, StageConfig


class Corruption(Config):
    """What is done to the low-resolution picture in training, so that sampling forgives faults."""

    blur: float = Field(0.6, ge=0, description="sigma of a 3x3 Gaussian, in small pixels")
    blur_share: float = Field(0.5, ge=0, le=1, description="share of samples that are blurred")
    noise: float = Field(0.2, ge=0, description="largest standard deviation of added noise")
    at_sampling: float = Field(0.0, ge=0, le=1, description="noise level when sampling, 0 to 1")
    bsr: Bsr | None = Field(None, description="BSRGAN's degradation, in place of the blur")
    redrawn_by: str | None = Field(
        None,
        description="a decoder or an upsampler of the recipe, which redraws small pictures for "
        "training",
    )
    redrawn_share: float = Field(0.7, ge=0, le=1, description="of samples that it redraws")
    redrawn_from: tuple[Share, Share] = Field(
        (0.25, 0.8), description="the part of its path it begins on, 0 pure noise to 1 clean"
    )

    @model_validator(mode="after")
    def _part_of_the_path(self) -> Self:
        low, high = self.redrawn_from
        if low > high:
            raise ValueError(f"redrawn_from must rise, got {low:g} to {high:g}")
        return self


class UpsamplerSampling(Sampling):
    """How an upsampler is sampled."""

    sharpen: float = Field(
        0.0, ge=0, le=8, description="pixels by which soft edges are narrowed, 0 not at all"
    )


class AnyUpsamplerConfig(DiffusionConfig):
    """What every upsampler's configuration has: any network that looks at a small picture."""

    network: NetConfig
    low_res_size: int = Field(64, gt=0)
    space: SpaceConfig = Rgb()

    @property
    def sees_noise(self) -> bool:
        """See `DiffusionConfig`."""
        return self.network.sees_noise

    @property
    def factor(self) -> int:
        """How many times a picture is enlarged."""
        return self.network.image_size // self.low_res_size

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if not getattr(self.network, "low_res", True):
            raise ValueError("network.low_res is off, but an upsampler looks at a small picture")
        if self.network.image_size % self.low_res_size:
            raise ValueError(
                f"network.image_size {self.network.image_size} is not a multiple of low_res_size"
            )
        return self


class UpsamplerConfig(AnyUpsamplerConfig):
    """An upsampler's configuration."""

    kind: Literal["upsampler"] = "upsampler"
    network: Network
    crop: int | None = Field(None, gt=0, description="side of training crops; none is a quarter")
    corruption: Corruption = Corruption()
    enlarge: Literal["nearest", "bilinear", "bicubic"] = Field(
        "nearest", description="how the small picture is brought to the large one's size"
    )
    last_network: bool = Field(False, description="a network of its own for timestep 0")
    optional: bool = Field(False, description="it runs only where such a size is asked for")
    schedule: ScheduleConfig = Cosine()
    parameterization: Parameterization = Parameterization(kind="eps")
    sampling: UpsamplerSampling = UpsamplerSampling(steps=27, threshold="clamp")
    drop_text: DropText = 0.0
    drop_image: DropImage = 0.0

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        large = self.network.image_size
        unit, crop = math.lcm(self.factor, self.network.unit), self.crop or large // 4
        if crop > large or crop % unit:
            raise ValueError(f"crop {crop} is not a multiple of {unit} and {large} at most")
        for setting in ("align_dim", "text_of_clip"):
            if getattr(self.network, setting, None):
                raise ValueError(
                    f"network.{setting} is a decoder's; an upsampler has no use for it"
                )
        return self


class AnyUpsampler(DiffusionStage):
    """What every upsampler does: a subclass says how a small picture is shown to the network."""

    consumes: frozenset[str] = frozenset({"image"})
    produces: frozenset[str] = frozenset({"image"})
    config: AnyUpsamplerConfig
    net: Any

    def __init__(self, config: AnyUpsamplerConfig) -> None:
        super().__init__()
        network = config.network
        check_network(config, network)
        self.config = config
        self.factor = config.factor
        self.net = network.build()
        self.consumes = network.reads | {"image"}

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of its large pictures."""
        return self.config.network.image_size, self.config.network.image_size

    def shape(self, cond: Cond) -> tuple[int, ...]:
        """(3, H, W), `factor` times the small picture's."""
        assert cond.image is not None
        height, width = cond.image.shape[-2:]
        return (3, height * self.factor, width * self.factor)

    @property
    def inpaints(self) -> bool:
        """True: the small picture already shows what belongs behind the mask."""
        return True

    @property
    @abstractmethod
    def level_at_sampling(self) -> float:
        """How corrupted the small picture is when sampling, 0 to 1."""

    @abstractmethod
    def shown(self, small: Tensor, level: Tensor, rng: Rng) -> Tensor:
        """(B, 3, h, w) corrupted by `level` (B,), and brought to the large picture's size."""

    @abstractmethod
    def enlarged(self, small: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, H, W), nothing added."""

    def shrunk(self, large: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, h, w)."""
        return F.interpolate(large, scale_factor=1 / self.factor, mode="area")

    def _sample(self, cond: Cond, rng: Rng, arguments: SampleArguments) -> Cond:
        """Replace `image` (B, 3, h, w) by one `factor` times as large."""
        assert cond.image is not None
        level = self._level(cond.image)
        bound = fit_known(cond, self.shape(cond)[1:]).replace(
            low_res=self.shown(cond.image, level, rng.fork("low_res")), low_res_level=level
        )
        drawn = self.sample_data(bound, rng, *arguments)
        return cond.replace(image=self.finished(drawn, arguments.sampling))

    def finished(self, drawn: Tensor, sampling: dict[str, Any]) -> Tensor:
        """What is done to a picture (B, 3, H, W) after the last step: nothing."""
        return drawn

    def condition_for(self, cond: Cond, image: Tensor) -> Cond:
        """`cond` as this stage would need it to draw (B, 3, H, W) `image` itself."""
        small = self.shrunk(image)
        level = self._level(image)
        return cond.replace(image=small, low_res=self.enlarged(small), low_res_level=level)

    def _level(self, image: Tensor) -> Tensor:
        """(B,): how corrupted the small picture is when sampling."""
        level = self.level_at_sampling
        return torch.full((len(image),), level, dtype=torch.float32, device=image.device)

    def blurred(self, small: Tensor, sigma: float, share: float, rng: Rng) -> Tensor:
        """A `share` of (B, 3, h, w) pictures blurred, for training."""
        if sigma == 0:
            return small
        chosen = rng.bernoulli(share).view(-1, 1, 1, 1)
        return torch.where(chosen, gaussian_blur(small, sigma), small)


class Upsampler(AnyUpsampler):
    """Section 2.1 of arXiv 2204.06125: no attention, trained on crops, run at full size."""

    Config: ClassVar[type[StageConfig]] = UpsamplerConfig
    kind = "upsampler"
    config: UpsamplerConfig

    def __init__(self, config: UpsamplerConfig) -> None:
        super().__init__(config)
        if config.last_network:
            self.net = LastStep(self.net, config.network.build())

    @property
    def level_at_sampling(self) -> float:
        """As configured."""
        return self.config.corruption.at_sampling

    def _sample(self, cond: Cond, rng: Rng, arguments: SampleArguments) -> Cond:
        """See `AnyUpsampler`; a large picture without noise is drawn window by window."""
        if drawn_apart(self, cond, arguments.control):
            return window_by_window(self, super()._sample, cond, rng, arguments)
        return super()._sample(cond, rng, arguments)

    def windows(self, size: tuple[int, int], sampling: dict[str, Any] | None = None) -> int:
        """See `Stage`."""
        return len(divided(self, size, sampling or {})) if divides(self, size) else 1

    def shown(self, small: Tensor, level: Tensor, rng: Rng) -> Tensor:
        """See `AnyUpsampler`: noised, then enlarged."""
        if self.level_at_sampling > 0:
            small = self._noised(small, level, rng)
        return self.enlarged(small)

    def finished(self, drawn: Tensor, sampling: dict[str, Any]) -> Tensor:
        """See `AnyUpsampler`: its edges are narrowed, where it is asked for."""
        return warp_sharpened(drawn, self.config.sampling.merge(sampling).sharpen)

    def enlarged(self, small: Tensor) -> Tensor:
        """See `AnyUpsampler`."""
        mode, factor = self.config.enlarge, float(self.factor)
        if mode == "nearest":
            return F.interpolate(small, scale_factor=factor, mode=mode)
        # float32: antialiased bicubic has no bfloat16 kernel on the CPU
        return F.interpolate(small.float(), scale_factor=factor, mode=mode, antialias=True)

    def example(self, cond: Cond, rng: Rng) -> tuple[Cond, Tensor]:
        """A random crop, and a small picture made from it and corrupted, or cut from `low_res`.

        What else the network reads is said of the whole picture.
        """
        assert cond.image is not None
        corner, side = self._corner(cond.image, rng), self._side(cond.image)
        crop = cut(cond.image, self.factor * corner, side)
        if cond.low_res is not None and cond.low_res_level is not None:
            small, level = cut(cond.low_res, corner, side // self.factor), cond.low_res_level
        else:
            small, level = self.shrunk(crop), rng.rand()
            small = self.corrupt(small, level, rng)
        low_res, counts = self.enlarged(small), cond.loss_mask
        counts = None if counts is None else cut(counts, self.factor * corner, side)
        seen = cond.replace(low_res=low_res, low_res_level=level, loss_mask=counts)
        return seen, self.space.encode(crop)

    def corrupt(self, small: Tensor, level: Tensor, rng: Rng) -> Tensor:
        """Blur or degrade some of the (B, 3, h, w) pictures, then add noise of strength `level`."""
        options = self.config.corruption
        if options.bsr:
            small = degraded(small, options.bsr, rng)
        else:
            small = self.blurred(small, options.blur, options.blur_share, rng)
        return self._noised(small, level, rng)

    def _noised(self, small: Tensor, level: Tensor, rng: Rng) -> Tensor:
        strength = self.config.corruption.noise * level.view(-1, 1, 1, 1)
        return small + strength * rng.randn(*small.shape[1:])

    def _side(self, image: Tensor) -> int:
        """Of a training crop."""
        return self.config.crop or min(image.shape[-2:]) // 4

    def _corner(self, image: Tensor, rng: Rng) -> Tensor:
        """(B, 2) of a random crop a sample, in small pixels."""
        corners = [(length - self._side(image)) // self.factor + 1 for length in image.shape[-2:]]
        return (rng.rand(2) * torch.tensor(corners, device=image.device)).long()


def cut(image: Tensor, corner: Tensor, side: int) -> Tensor:
    """(B, C, H, W) and (B, 2) corners -> (B, C, side, side)."""
    line = corner[:, :, None] + torch.arange(side, device=corner.device)  # (B, 2, side)
    sample = torch.arange(len(image), device=corner.device)[:, None, None]
    # (B, side, side, C), then the view that is channels_last
    return image[sample, :, line[:, 0, :, None], line[:, 1, None, :]].permute(0, 3, 1, 2)


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """3x3 Gaussian blur of (B, C, H, W), edges repeated."""
    place = torch.arange(-1.0, 2.0, dtype=torch.float32, device=image.device)
    taps = torch.exp(-(place**2) / (2 * sigma**2))
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    weight = kernel.expand(image.shape[1], 1, 3, 3).to(image.dtype)
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, weight, groups=image.shape[1])


STAGE = Upsampler
