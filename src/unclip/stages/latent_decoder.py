"""A decoder that diffuses an autoencoder's latents: the text, and perhaps z_i, in, a picture out.

High-Resolution Image Synthesis with Latent Diffusion Models (arXiv 2112.10752): Stable Diffusion,
and Stable unCLIP, whose decoder sees z_i too, noised as far as one likes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ..diffusion.guidance import TINT, map_x0
from ..diffusion.parameterization import Parameterization
from ..diffusion.schedule import Cosine, ScaledLinear, ScheduleConfig
from ..diffusion.space import Rgb, Space, SpaceConfig
from ..nn.autoencoder import Autoencoder, AutoencoderConfig, InLatents
from ..nn.latent_unet import LatentUNet, LatentUNetConfig
from ..nn.unet import UNetConfig
from ..rng import Rng
from ..types import FREE, Cond, Control, Denoiser, Level, OnStep
from .stage import DiffusionConfig, DiffusionStage, Sampling, check_channels, fit_known

PIXELS = 2**19
"""How many pixels the autoencoder works on at once: two pictures of 512 x 512."""


@dataclass(frozen=True)
class Latents:
    """The space of an autoencoder's latents."""

    autoencoder: Autoencoder

    def encode(self, data: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, c, h, w): their mean, nothing drawn."""
        return self._by_parts(self.autoencoder.encode, data, data[0, 0].numel())

    def decode(self, x: Tensor) -> Tensor:
        """(B, c, h, w) -> (B, 3, H, W) within [-1, 1]."""
        pixels = x[0, 0].numel() * self.autoencoder.config.factor**2
        return self._by_parts(self.autoencoder.decode, x, pixels).clamp(-1, 1)

    def _by_parts(self, fn: Any, x: Tensor, pixels: int) -> Tensor:
        """As many pictures at once as keep memory in bounds, in the autoencoder's own dtype."""
        dtype = self.autoencoder.quant.weight.dtype
        parts = torch.split(x.to(dtype), max(1, PIXELS // pixels))
        return torch.cat([fn(part).float() for part in parts])


class LatentSampling(Sampling):
    """How a decoder in latents is sampled."""

    ceiling: float | None = Field(
        None, gt=0, description="above which a dynamic threshold does not rise"
    )


class LatentConfig(DiffusionConfig):
    """What decoders in latents have in common."""

    network: LatentUNetConfig | UNetConfig
    autoencoder: AutoencoderConfig
    sampling: LatentSampling = LatentSampling()
    space: SpaceConfig = Rgb()  # of the pictures that the autoencoder sees

    @model_validator(mode="after")
    def _channels_fit(self) -> LatentConfig:
        if self.network.in_channels != self.autoencoder.width:
            raise ValueError(
                f"network.in_channels {self.network.in_channels} are not the autoencoder's "
                f"{self.autoencoder.width}"
            )
        return self


class LatentStage(DiffusionStage):
    """What decoders in latents do alike; a subclass gives the network that denoises."""

    produces: frozenset[str] = frozenset({"image"})
    config: LatentConfig
    net: InLatents
    # latents have a standard deviation of 1 (arXiv 2112.10752, appendix G), pictures of .5 (arXiv
    # 2206.00364, table 1)
    tint: ClassVar[float] = TINT / 0.5

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        network = config.network
        check_channels(config, network.in_channels, network.out_channels)
        self.config = config
        autoencoder = Autoencoder(config.autoencoder)
        autoencoder.requires_grad_(False)  # its latents are what is learnt
        self.net = InLatents(self.unet(), autoencoder)
        self.consumes = network.reads

    @abstractmethod
    def unet(self) -> nn.Module:
        """The network that denoises latents, with its condition."""

    @property
    def image_size(self) -> int | None:
        """Side of its pictures."""
        return self.config.network.image_size * self.config.autoencoder.factor

    @property
    def space(self) -> Space:
        """The autoencoder's latents."""
        return Latents(self.net.autoencoder)

    def shape(self, cond: Cond) -> tuple[int, ...]:
        """(c, h, w)."""
        network = self.config.network
        return (network.in_channels, network.image_size, network.image_size)

    def _guided(self, cond: Cond, options: Sampling) -> Denoiser:
        """See `DiffusionStage`; with a threshold that has a ceiling."""
        denoise = super()._guided(cond, options)
        assert isinstance(options, LatentSampling)
        if options.ceiling is None:
            return denoise
        return map_x0(denoise, bounded_threshold(options.ceiling))

    def _begin(
        self, cond: Cond, rng: Rng, levels: list[Level], control: Control
    ) -> tuple[Tensor, list[Level]]:
        """See `DiffusionStage`; but fresh noise is of unit variance wherever the grid begins.

        The published grids begin a little below the noisiest level, and their samplers with this.
        """
        if control.noise is None and control.start is None:
            return rng.randn(*self.shape(cond)), levels
        return super()._begin(cond, rng, levels, control)

    @torch.inference_mode()
    def sample(
        self,
        cond: Cond,
        rng: Rng,
        sampling: dict[str, Any] | None = None,
        on_step: OnStep | None = None,
        control: Control = FREE,
    ) -> Cond:
        """Add `image` (B, 3, H, W), true to `known` outside `mask` where they are given."""
        assert self.image_size is not None
        seen = fit_known(cond, self.image_size)
        bound = self.conditioned(seen, rng, self.config.sampling.merge(sampling or {}))
        if seen.mask is not None:  # a latent of which any pixel is to be painted is painted
            bound = bound.replace(mask=F.max_pool2d(seen.mask, self.config.autoencoder.factor))
        image = self.sample_data(bound, rng, sampling, on_step, control)
        if seen.known is not None and seen.mask is not None:
            image = torch.where(seen.mask > 0, image, seen.known)
        return cond.replace(image=image)

    def conditioned(self, cond: Cond, rng: Rng, options: Sampling) -> Cond:
        """The condition as the network gets to see it when it draws."""
        return cond

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Diffusion loss of the picture's latents. The autoencoder is not trained."""
        assert cond.image is not None
        return self.denoising_loss(cond, cond.image, rng)


def bounded_threshold(ceiling: float, quantile: float = 0.995) -> Callable[[Tensor], Tensor]:
    """As `dynamic_threshold`, for `map_x0`, but what x0 is divided by is `ceiling` at most."""

    def threshold(x0: Tensor) -> Tensor:
        sizes = torch.quantile(x0.flatten(1).abs(), quantile, dim=1).clamp(1.0, ceiling)
        size = sizes.view(-1, 1, 1, 1)
        return torch.maximum(torch.minimum(x0, size), -size) / size

    return threshold


class DecoderSampling(LatentSampling):
    """How a latent decoder is sampled that sees z_i, or none."""

    noise_level: int = Field(
        0, ge=0, lt=1000, description="timestep that z_i is noised to, where the network sees it"
    )


class LatentDecoderConfig(LatentConfig):
    """A latent decoder's configuration; defaults are Stable Diffusion's."""

    kind: Literal["latent_decoder"] = "latent_decoder"
    network: LatentUNetConfig
    schedule: ScheduleConfig = ScaledLinear(last="first")
    parameterization: Parameterization = Parameterization(kind="eps")
    sampling: DecoderSampling = DecoderSampling(
        steps=50, spacing="leading_after", guidance_scale=7.5
    )
    image_schedule: ScheduleConfig = Field(Cosine(), description="by which z_i is noised")


class LatentDecoder(LatentStage):
    """Stable Diffusion's decoder, with its own text encoder, and Stable unCLIP's."""

    Config = LatentDecoderConfig
    kind: ClassVar[str] = "latent_decoder"
    config: LatentDecoderConfig

    def unet(self) -> LatentUNet:
        """With transformer blocks that look at the text."""
        return LatentUNet(self.config.network)

    @property
    def null_is_text(self) -> bool:
        """True: the empty text's own encoding."""
        return True

    def conditioned(self, cond: Cond, rng: Rng, options: Sampling) -> Cond:
        """z_i noised to the level that `options` name, and told so; a text needs nothing."""
        if not self.config.network.embed_dim:
            return cond
        assert isinstance(options, DecoderSampling)
        t = torch.tensor(float(options.noise_level), dtype=torch.float32, device="cpu")
        level = self.config.image_schedule.level(t)
        return self._noised(cond, level, rng.fork("noise_level"))

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """See `LatentStage`; z_i is noised to a random level."""
        if self.config.network.embed_dim:
            cond = self._noised(cond, self.config.image_schedule.sample(rng), rng)
        return super().loss(cond, rng)

    def _noised(self, cond: Cond, level: Level, rng: Rng) -> Cond:
        """Add `noised_image_embed` (B, 2·D), z_i noised to a level () or (B,)."""
        assert cond.image_embed is not None
        assert isinstance(self.net.unet, LatentUNet)
        vector, z_i = self.net.unet.image, cond.image_embed.float()
        noised = vector.noised(z_i, rng.randn(z_i.shape[1]), *level.like(z_i))
        t = level.t.to(z_i.device).expand(len(z_i))
        return cond.replace(noised_image_embed=vector.features(noised, t))


STAGE = LatentDecoder
