"""The autoencoders of latent diffusion: pictures to a small grid of latents, and back.

High-Resolution Image Synthesis with Latent Diffusion Models (arXiv 2112.10752, appendix G) for
the network; MoVQ (arXiv 2209.09002, section 3.2) for the decoder whose norms look at the latents,
and the codebook.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import LEVELS, Blocks
from ...nn.blocks import Place, places
from ...nn.latents import LatentsConfig
from ...nn.layers import laid_out
from ...stages.decoder import AnyDecoderConfig
from ...stages.sampling import DropText
from ._unet import Resample

EPS = 1e-6
SPATIAL_GROUPS = 32
"""Of spatial norms, whatever the others have."""


class AutoencoderConfig(LatentsConfig):
    """Size of an autoencoder."""

    image_channels: int = Field(3, gt=0)
    latent_channels: int = Field(4, gt=0)
    channels: tuple[int, ...] = Field(
        min_length=1, max_length=LEVELS, description="of each level, large to small"
    )
    depth: Blocks = Field(2, ge=1, description="residual blocks a level; the way back has one more")
    groups: int = Field(32, gt=0, description="of the norms")
    output: Literal["mean", "latents"] = Field(
        "mean", description="mean: the encoder puts out a Gaussian's mean and log-variance"
    )
    attention: tuple[int, ...] = Field((), description="levels with attention, beside the middle")
    codes: int = Field(0, ge=0, description="size of the codebook; 0 is none")
    code_channels: int = Field(0, ge=0, description="width of what is diffused; 0 is the latents'")
    spatial: bool = Field(False, description="the decoder's norms look at the latents (MoVQ)")
    scale: float = Field(1.0, gt=0, description="latents times this have about unit variance")

    @model_validator(mode="after")
    def _groups_fit(self) -> AutoencoderConfig:
        whole = math.lcm(self.groups, SPATIAL_GROUPS) if self.spatial else self.groups
        for channels in self.channels:
            if channels % whole:
                raise ValueError(f"channels {channels} is not a multiple of {whole} groups")
        return self

    def build(self) -> nn.Module:
        """The network."""
        return Autoencoder(self)

    @property
    def factor(self) -> int:
        """How many pixels' side one latent stands for."""
        return int(2 ** (len(self.channels) - 1))

    @property
    def width(self) -> int:
        """Channels of what is diffused."""
        return self.code_channels or self.latent_channels

    def layers(self, decodes: bool) -> Iterator[tuple[str, Place]]:
        """What each layer of one half is (block, attention, resample), in order."""
        for place in places(self.channels[0], self.channels, self.depth, joins=False):
            part = place.name.partition(".")[0]
            if part == ("down" if decodes else "up"):
                continue
            yield "resample" if place.resample else "block", place
            inside = part != "middle" and place.level in self.attention and not place.resample
            if inside or place.name == "middle.0":
                yield "attention", place


class Norm(nn.GroupNorm):
    """A group norm that does not look at the latents."""

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return super().forward(x)


class SpatialNorm(nn.Module):
    """A group norm, scaled and shifted at each place by the latent there (MoVQ, eq. 4)."""

    def __init__(self, channels: int, latent: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(SPATIAL_GROUPS, channels, eps=EPS)
        self.scale = nn.Conv2d(latent, channels, 1)
        self.shift = nn.Conv2d(latent, channels, 1)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """(B, C, H, W) and the latents (B, c, h, w) -> (B, C, H, W)."""
        assert z is not None
        # 1x1 convolutions commute with repeating pixels, and are cheaper before
        scale, shift = (F.interpolate(f(z), x.shape[-2:]) for f in (self.scale, self.shift))
        out: Tensor = self.norm(x) * scale + shift
        return out


class ResBlock(nn.Module):
    """x + what two convolutions make of it, each after a norm and a SiLU."""

    def __init__(self, config: AutoencoderConfig, cin: int, cout: int, spatial: bool) -> None:
        super().__init__()
        self.norm1 = _norm(config, cin, spatial)
        self.conv1 = nn.Conv2d(cin, cout, 3, padding=1)
        self.norm2 = _norm(config, cout, spatial)
        self.conv2 = nn.Conv2d(cout, cout, 3, padding=1)
        self.skip = nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """(B, cin, H, W) -> (B, cout, H, W)."""
        h = self.conv1(F.silu(self.norm1(x, z)))
        h = self.conv2(F.silu(self.norm2(h, z)))
        out: Tensor = self.skip(x) + h
        return out


class AttentionBlock(nn.Module):
    """Every place looks at every other, with one head."""

    def __init__(self, config: AutoencoderConfig, channels: int, spatial: bool) -> None:
        super().__init__()
        self.norm = _norm(config, channels, spatial)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        places = self.norm(x, z).permute(0, 2, 3, 1).flatten(1, 2)  # (B, H·W, C)
        q, k, v = self.qkv(places)[:, None].chunk(3, dim=3)  # (B, 1, H·W, C) each
        out: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v)[:, 0])
        return x + out.view(len(x), *x.shape[2:], x.shape[1]).permute(0, 3, 1, 2)


class Half(nn.Module):
    """An encoder or a decoder: convolution, layers in order, norm, SiLU, convolution."""

    def __init__(self, config: AutoencoderConfig, cin: int, cout: int, decodes: bool) -> None:
        super().__init__()
        self.config, self.spatial = config, config.spatial and decodes
        first, last = config.channels[0], config.channels[-1]
        if decodes:
            first, last = last, first
        self.conv_in = nn.Conv2d(cin, first, 3, padding=1)
        self.layers = nn.ModuleList(self._layer(*one) for one in config.layers(decodes))
        self.norm_out = _norm(config, last, self.spatial)
        self.conv_out = nn.Conv2d(last, cout, 3, padding=1)

    def _layer(self, kind: str, place: Place) -> nn.Module:
        if kind == "block":
            return ResBlock(self.config, place.cin, place.cout, self.spatial)
        if kind == "attention":
            return AttentionBlock(self.config, place.cout, self.spatial)
        return Resample(place.cin, place.resample == "up", corner=True)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """(B, cin, H, W), and what spatial norms look at (B, c, h, w) -> (B, cout, H', W')."""
        h = self.conv_in(laid_out(x))
        for layer in self.layers:
            h = layer(h, z)
        out: Tensor = self.conv_out(F.silu(self.norm_out(h, z)))
        return out


class Autoencoder(nn.Module):
    """Encoder and decoder, with a 1x1 convolution between each and what is diffused."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        latent, width = config.latent_channels, config.width
        both = 2 if config.output == "mean" else 1
        self.encoder = Half(config, config.image_channels, both * latent, decodes=False)
        self.quant = nn.Conv2d(both * latent, both * width, 1)
        if config.codes:
            self.codebook = nn.Embedding(config.codes, width)
            nn.init.uniform_(self.codebook.weight, -1 / config.codes, 1 / config.codes)
        self.post_quant = nn.Conv2d(width, latent, 1)
        self.decoder = Half(config, latent, config.image_channels, decodes=True)

    def moments(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, 3, H, W) in [-1, 1] -> mean and log-variance of its latents, unscaled.

        (B, c, h, w) each; without a Gaussian the log-variance is None.
        """
        out: Tensor = self.quant(self.encoder(image))
        if self.config.output == "latents":
            return out, None
        mean, log_variance = out.chunk(2, dim=1)
        return mean, log_variance.clamp(-30, 20)

    def encode(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, c, H/factor, W/factor): the latents' mean, scaled."""
        return self.moments(image)[0] * self.config.scale

    def decode(self, latents: Tensor) -> Tensor:
        """(B, c, h, w) scaled latents, not quantised -> (B, 3, H, W), not clamped."""
        z = latents / self.config.scale
        out: Tensor = self.decoder(self.post_quant(z), z if self.config.spatial else None)
        return out


def _norm(config: AutoencoderConfig, channels: int, spatial: bool) -> Norm | SpatialNorm:
    if spatial:
        return SpatialNorm(channels, config.width)
    return Norm(config.groups, channels, eps=EPS)


class OfLatentsConfig(AnyDecoderConfig):
    """A decoder whose latents are this autoencoder's."""

    autoencoder: AutoencoderConfig
    drop_text: DropText = 0.1

    @property
    def latents(self) -> AutoencoderConfig:
        """The autoencoder."""
        return self.autoencoder

    @property
    def resizes(self) -> bool:
        """The published ones were trained on, or are drawn at, many sizes."""
        return True
