"""The ADM U-Net with GLIDE's and DALL·E 2's conditioning, for decoder and upsamplers.

Diffusion Models Beat GANs (arXiv 2105.05233, section 3) for the residual blocks with scale and
shift, and their up- and downsampling; GLIDE (arXiv 2112.10741, section 3) for attention to
[context, pixels]; DALL·E 2 (arXiv 2204.06125, section 2.1) for z_i in the timestep embedding and
as extra context tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import LEVELS, Blocks
from .blocks import AttentionBlock, Layer, Levels, Place, ResBlock, places
from .conditioning import Conditioned, Encoded, Given, NetConfig
from .layers import (
    PixelNorm,
    TimestepMlp,
    coordinates,
    laid_out,
    silu_,
    zero,
)
from .text import TextConfig


class UNetConfig(NetConfig):
    """Size and conditions of a U-Net."""

    channels: int = Field(gt=0)
    multipliers: tuple[int, ...] = Field(min_length=1, max_length=LEVELS)
    depth: Blocks = Field(ge=1, description="residual blocks a level")
    attention: tuple[int, ...] = Field((), description="picture sides with attention")
    head_dim: int = Field(64, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    norm: Literal["group", "layer"] = Field(
        "group", description="over groups of channels and all pixels, or over each pixel's channels"
    )
    scale_shift: bool = Field(True, description="the timestep scales and shifts, or only shifts")
    space_to_depth: int = Field(1, ge=1, description="fold n x n pixels into channels")
    coordinates: bool = Field(False, description="tell each place where it lies in the picture")
    low_res: bool = Field(False, description="concatenate a low-resolution picture")
    noise_input: bool = Field(
        True, description="it sees x_t; without, it draws x0 in one step, from its condition alone"
    )
    residual: bool = Field(False, description="it says what is added to the low-resolution picture")
    inpaint: bool = Field(False, description="concatenate what is known of the picture, and where")
    embed_dim: int = Field(0, ge=0, description="width of z_i; 0 is unconditional")
    image_tokens: int = Field(4, ge=1, description="context tokens made of z_i")
    text: TextConfig | None = None
    text_of_clip: bool = Field(
        False, description="the text encoder is built as CLIP's, and training starts from that"
    )
    align_dim: int = Field(
        0, ge=0, description="width of CLIP's patch features that training aligns with; 0 is none"
    )

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.image_size % self.unit:
            raise ValueError(f"image_size {self.image_size} is not a multiple of {self.unit}")
        if self.channels % 32:
            raise ValueError(f"channels {self.channels} is not a multiple of 32")
        if self.residual and not (self.low_res and self.out_channels == 3):
            raise ValueError("residual needs low_res, and out_channels = 3")
        if self.text_of_clip and not self.text:
            raise ValueError("text_of_clip needs text: the size of CLIP's text encoder")
        return self

    def build(self) -> UNet:
        """The network."""
        return UNet(self)

    @property
    def reads(self) -> frozenset[str]:
        """See `NetConfig`."""
        text = {"text_tokens", "text_mask"} if self.text else set()
        return frozenset(text | ({"image_embed"} if self.embed_dim else set()))

    @property
    def unit(self) -> int:
        """What is folded, halved at each level."""
        unit: int = self.space_to_depth * 2 ** (len(self.multipliers) - 1)
        return unit

    @property
    def knows_places(self) -> bool:
        """As configured."""
        return self.coordinates

    @property
    def reach(self) -> int | None:
        """Of its convolutions, two a layer, and of the first and the last."""
        if self.norm == "group" or self.attention or self.coordinates:
            return None
        cells: int = 2 + sum(2 * 2**place.level for place in self.places())
        return -(-self.space_to_depth * cells // self.unit) * self.unit + self.unit

    @property
    def sees_noise(self) -> bool:
        """As configured."""
        return self.noise_input

    @property
    def says_x0(self) -> bool:
        """See `NetConfig`; and what is added to a picture gives a picture."""
        return self.residual or not self.noise_input

    @property
    def inpaints(self) -> bool:
        """As configured."""
        return self.inpaint

    @property
    def aligns(self) -> int:
        """As configured."""
        return self.align_dim

    @property
    def starts_as(self) -> TextConfig | None:
        """Its own text encoder, if it is built as CLIP's."""
        return self.text if self.text_of_clip else None

    @property
    def widths(self) -> list[int]:
        """Channels of each level, large to small."""
        return [factor * self.channels for factor in self.multipliers]

    def places(self) -> Iterator[Place]:
        """Its layers in the order they run."""
        return places(self.channels, self.widths, self.depth)

    def attends(self, place: Place) -> bool:
        """Whether a layer has attention: at some sides, and first in the middle."""
        side = self.image_size // self.space_to_depth >> place.level
        return side in self.attention and not place.resample and place.name != "middle.1"

    @property
    def context_width(self) -> int:
        """Width of context tokens: the text's, or else that of the timestep embedding."""
        return self.text.width if self.text else 4 * self.channels if self.embed_dim else 0


class UNet(Conditioned, Levels):
    """The whole network. `encode` does the work of a prompt, `forward` that of a step."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.fold = config.space_to_depth
        emb, last = 4 * config.channels, config.widths[0]
        self.time = TimestepMlp(config.channels, emb)
        self.add_condition(emb)
        cin = (config.in_channels + 3 * config.low_res + 4 * config.inpaint) * self.fold**2
        self.conv_in = nn.Conv2d(cin + 2 * config.coordinates, config.channels, 3, padding=1)
        self.add_levels(config.places(), self._layer)
        if config.align_dim:
            channels, width = self.aligned_layer.block.conv2.out_channels, config.align_dim
            self.align = nn.Sequential(
                nn.Linear(channels, width), nn.SiLU(), nn.Linear(width, width)
            )
        self.norm_out = self.norm(last)
        self.conv_out = zero(nn.Conv2d(last, config.out_channels * self.fold**2, 3, padding=1))

    def add_condition(self, emb: int) -> None:
        """See `Conditioned`; of an upsampler, what tells it how corrupted its small picture is."""
        super().add_condition(emb)
        if self.config.low_res:
            self.low_res_time = TimestepMlp(self.config.channels, emb)

    def norm(self, channels: int) -> nn.Module:
        """One of its norms."""
        layer = self.config.norm == "layer"
        return PixelNorm(channels) if layer else nn.GroupNorm(32, channels)

    def block(self, cin: int, cout: int, resample: str = "") -> ResBlock:
        """One of its residual blocks."""
        config = self.config
        return ResBlock(
            cin,
            cout,
            4 * config.channels,
            self.norm,
            scale_shift=config.scale_shift,
            dropout=config.dropout,
            resample=resample,
        )

    def _layer(self, place: Place) -> Layer:
        config, attention = self.config, None
        if config.attends(place):
            width = config.context_width
            attention = AttentionBlock(place.cout, config.head_dim, width, self.norm)
        return Layer(self.block(place.cin, place.cout, place.resample), attention)

    @property
    def aligned_layer(self) -> Layer:
        """The layer whose features `align` compares: the first after the first enlargement."""
        layers = [layer for layer in self.up if isinstance(layer, Layer)]
        enlarged = [layer.enlarges for layer in layers]
        return layers[enlarged.index(True) + 1] if any(enlarged) else layers[0]

    def encode(self, given: Given) -> Encoded:
        """All that depends on the condition alone.

        Reads `text_tokens` and `text_mask` where the network has a text encoder (without them it
        takes a caption that is all padding), `image_embed` where it is conditional, `low_res` and
        `low_res_level` where it is an upsampler, `known` and `mask`, if they are there, where it
        can inpaint.
        """
        config = self.config
        vectors, tokens, mask = self.conditions(given)
        context = torch.cat(tokens, dim=1) if tokens else None  # (B, L, context_dim)
        layers = [*self.down, *self.middle, *self.up] if context is not None else []
        blocks = [layer.attention for layer in layers if layer.attention is not None]
        return Encoded(
            vector=torch.stack(vectors).sum(0) if vectors else None,
            context=tuple(block.keys_values(context) for block in blocks),
            mask=mask,
            low_res=given["low_res"] if config.low_res else None,
            low_res_level=given.get("low_res_level") if hasattr(self, "low_res_time") else None,
            known=self.known(given) if config.inpaint else None,
        )

    def forward(self, x: Tensor, t: Tensor, encoded: Encoded) -> Tensor:
        """(B, C, H, W) noisy picture, (B,) timestep -> (B, out_channels, H, W)."""
        h, emb = self._entered(x, t, encoded)
        h = self.run(h, emb, iter(encoded.context), encoded.mask)
        out: Tensor = F.pixel_shuffle(self.conv_out(silu_(self.norm_out(h))), self.fold)
        added = encoded.low_res if self.config.residual else None
        return out if added is None else out + added

    @property
    def feature_channels(self) -> list[int]:
        """C' of each of `features`."""
        return [*self.config.widths, self.config.widths[-1]]

    def features(self, x: Tensor, t: Tensor, encoded: Encoded) -> list[Tensor]:
        """(B, C', H', W') each: how the way down sees a picture at each size, then the middle."""
        down, middle = self.descend(
            *self._entered(x, t, encoded), iter(encoded.context), encoded.mask
        )
        return [*{one.shape[-1]: one for one in down}.values(), middle]

    def _entered(self, x: Tensor, t: Tensor, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """(B, C', H', W') after the first convolution, and (B, E) what every block is told."""
        emb, x = self.time(t), x if self.config.noise_input else torch.zeros_like(x)
        if encoded.vector is not None:
            emb = emb + encoded.vector
        if encoded.low_res is not None:
            x = torch.cat([x, encoded.low_res.to(x.dtype)], dim=1)
        if self.config.inpaint:
            x = self.with_known(x, encoded)
        if encoded.low_res_level is not None:
            emb = emb + self.low_res_time(1000 * encoded.low_res_level)
        x = F.pixel_unshuffle(x, self.fold)
        if self.config.coordinates:
            x = torch.cat([x, coordinates(x)], dim=1)
        return self.conv_in(laid_out(x)), F.silu(emb)


NETWORK = UNetConfig
