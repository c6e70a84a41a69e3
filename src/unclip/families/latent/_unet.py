"""The U-Net of latent diffusion, with transformer blocks that look at a text.

High-Resolution Image Synthesis with Latent Diffusion Models (arXiv 2112.10752, section 3.3 and
appendix E.2.1). Stable unCLIP adds z_i to the timestep embedding, as DALL·E 2 does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import LEVELS, Blocks
from ...nn.blocks import Layer, Levels, Place, ResBlock, places
from ...nn.conditioning import Encoded, Given, NetConfig
from ...nn.layers import TimestepMlp, laid_out, select, timestep_embedding, zero
from ...nn.text import TextConfig, TextEncoder
from ...nn.weighted import weighted


class LatentUNetConfig(NetConfig):
    """Size and conditions of the U-Net."""

    image_size: int = Field(gt=0, description="side of the latents it was trained on")
    in_channels: int = Field(4, gt=0)
    out_channels: int = Field(4, gt=0)
    channels: tuple[int, ...] = Field(
        min_length=1, max_length=LEVELS, description="of each level, large to small"
    )
    depth: Blocks = Field(2, ge=1, description="residual blocks a level; the way back has one more")
    attention: tuple[int, ...] = Field(
        (), description="levels with transformers, beside the middle"
    )
    heads: tuple[int, ...] = Field(min_length=1, description="of each level's attention")
    layers: Blocks = Field(1, ge=1, description="blocks of each transformer")
    inpaint: bool = Field(
        False, description="concatenate a mask and the latents of what is known of the picture"
    )
    text: TextConfig
    pad_id: int = Field(0, ge=0, description="token that stands for padding; it is read like any")
    empty: tuple[int, ...] = Field((), description="tokens of the empty text, which is the null")
    embed_dim: int = Field(0, ge=0, description="width of z_i; 0 is none")
    groups: int = Field(32, gt=0, description="of the norms")
    eps: float = Field(1e-5, gt=0, description="of the residual blocks' norms")

    @model_validator(mode="after")
    def _levels_fit(self) -> Self:
        if len(self.heads) != len(self.channels):
            raise ValueError(f"heads {self.heads} are not one a level of channels {self.channels}")
        for channels, heads in zip(self.channels, self.heads, strict=True):
            if channels % heads or channels % self.groups:
                raise ValueError(
                    f"channels {channels} is not a multiple of its heads {heads} "
                    f"and of groups {self.groups}"
                )
        if len(self.empty) > self.text.context:
            raise ValueError(f"empty {self.empty} is longer than {self.text.context} tokens")
        if self.image_size % self.unit:
            raise ValueError(f"image_size {self.image_size} is not a multiple of {self.unit}")
        return self

    def build(self) -> LatentUNet:
        """The network."""
        return LatentUNet(self)

    def places(self) -> Iterator[Place]:
        """Its layers in the order they run."""
        return places(self.channels[0], self.channels, self.depth)

    def attends(self, place: Place) -> bool:
        """Whether a layer has a transformer: on some levels, and first in the middle."""
        if place.name.startswith("middle"):
            return place.number == 0
        return place.level in self.attention and not place.resample

    @property
    def reads(self) -> frozenset[str]:
        """See `NetConfig`."""
        image = {"image_embed"} if self.embed_dim else set()
        return frozenset({"text_tokens", "text_mask"} | image)

    @property
    def inpaints(self) -> bool:
        """As configured."""
        return self.inpaint

    @property
    def size_unit(self) -> int:
        """Any number of latents: an odd one is halved rounding up, and doubled to what it was."""
        return 1

    @property
    def reads_long(self) -> bool:
        """See `NetConfig`."""
        return True

    @property
    def unit(self) -> int:
        """What is halved between levels."""
        return int(2 ** (len(self.channels) - 1))


class GatedMlp(nn.Module):
    """GEGLU (arXiv 2002.05202): four times the width, each number gated by another."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 8 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        value, gate = self.fc1(x).chunk(2, dim=-1)
        out: Tensor = self.fc2(value * F.gelu(gate))
        return out


class TransformerBlock(nn.Module):
    """Attention to itself, to the text, then a gated MLP; a norm before each."""

    def __init__(self, width: int, heads: int, context_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj1 = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(context_dim, 2 * width, bias=False)
        self.proj2 = nn.Linear(width, width)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = GatedMlp(width)

    def keys_values(self, context: Tensor) -> Tensor:
        """(B, L, context_dim) -> (B, heads, L, 2·head_dim), the same at every step."""
        k, v = self.kv(context).chunk(2, dim=2)
        return torch.cat([self._split(k), self._split(v)], dim=3)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, N, C) and the text's keys and values -> (B, N, C)."""
        q, k, v = (self._split(one) for one in self.qkv(self.norm1(x)).chunk(3, dim=2))
        x = x + self.proj1(_attend(q, k, v))
        k, v = context.chunk(2, dim=3)
        x = x + self.proj2(_attend(self._split(self.q(self.norm2(x))), k, v))
        out: Tensor = x + self.mlp(self.norm3(x))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, heads, N, head_dim)."""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class SpatialTransformer(nn.Module):
    """Transformer blocks over the places of a picture, as a residual."""

    def __init__(self, config: LatentUNetConfig, channels: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(config.groups, channels, eps=1e-6)
        # a 1x1 convolution is a linear layer: it is slow as a convolution in float32 on a CPU
        self.proj_in = nn.Linear(channels, channels)
        self.blocks = nn.ModuleList(
            TransformerBlock(channels, heads, config.text.width) for _ in range(config.layers)
        )
        self.proj_out = zero(nn.Linear(channels, channels))

    def forward(self, x: Tensor, context: Iterator[Tensor], mask: None = None) -> Tensor:
        """(B, C, H, W) and the next keys and values -> (B, C, H, W)."""
        h = self.proj_in(self.norm(x).permute(0, 2, 3, 1).flatten(1, 2))  # (B, H·W, C)
        for block in self.blocks:
            h = block(h, next(context))
        h = self.proj_out(h).view(len(x), *x.shape[2:], x.shape[1])
        out: Tensor = x + h.permute(0, 3, 1, 2)
        return out


class Resample(nn.Module):
    """Half the side by a strided convolution, or twice by repeating pixels before one.

    With `corner` halving reaches over the right and lower edge alone.
    """

    def __init__(self, channels: int, enlarges: bool, corner: bool = False) -> None:
        super().__init__()
        self.enlarges, self.corner = enlarges, corner and not enlarges
        stride, padding = 1 if enlarges else 2, 0 if self.corner else 1
        self.conv = nn.Conv2d(channels, channels, 3, stride=stride, padding=padding)

    def forward(self, x: Tensor, *_: Any, size: Sequence[int] = ()) -> Tensor:
        """(B, C, H, W) -> (B, C, H', W'), whatever the condition; `size` is twice that or less."""
        if self.enlarges:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = x[..., : size[0], : size[1]] if size else x
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)) if self.corner else x)
        return out


class ImageVector(nn.Module):
    """z_i and how much it was noised, for the timestep embedding (Stable unCLIP).

    `mean` and `std` (D,) whiten z_i before it is noised.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, embed_dim: int, width: int) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.register_buffer("mean", torch.zeros(embed_dim))
        self.register_buffer("std", torch.ones(embed_dim))
        self.fc1 = nn.Linear(2 * embed_dim, width)
        self.fc2 = nn.Linear(width, width)

    def noised(self, z_i: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """(B, D) alpha·z_i + sigma·noise in the space where z_i is white."""
        mean, std = self.mean.float(), self.std.float()
        return (alpha * (z_i - mean) / std + sigma * noise) * std + mean

    def features(self, z_i: Tensor, t: Tensor) -> Tensor:
        """(B, D) and the timesteps it was noised to (B,) -> (B, 2·D)."""
        return torch.cat([z_i.float(), timestep_embedding(t, self.embed_dim)], dim=1)

    def forward(self, features: Tensor, keep: Tensor | None) -> Tensor:
        """(B, 2·D); those not kept are all zeros -> (B, width)."""
        shown = select(keep, features, torch.zeros_like(features[0])).to(self.fc1.weight.dtype)
        out: Tensor = self.fc2(F.silu(self.fc1(shown)))
        return out


class LatentUNet(Levels):
    """The whole network, with its text encoder.

    `encode` does the work of a prompt, `forward` that of a step.
    """

    def __init__(self, config: LatentUNetConfig) -> None:
        super().__init__()
        self.config = config
        first, emb = config.channels[0], 4 * config.channels[0]
        self.time = TimestepMlp(first, emb)
        self.text = TextEncoder(config.text, causal=True)
        if config.embed_dim:
            self.image = ImageVector(config.embed_dim, emb)
        cin = config.in_channels + (1 + config.in_channels) * config.inpaint
        self.conv_in = nn.Conv2d(cin, first, 3, padding=1)
        self.add_levels(config.places(), self._layer)
        self.norm_out = self._norm(first)
        self.conv_out = zero(nn.Conv2d(first, config.out_channels, 3, padding=1))

    def _norm(self, channels: int) -> nn.GroupNorm:
        return nn.GroupNorm(self.config.groups, channels, eps=self.config.eps)

    def _layer(self, place: Place) -> nn.Module:
        config = self.config
        if place.resample:
            return Resample(place.cin, place.resample == "up")
        block = ResBlock(place.cin, place.cout, 4 * config.channels[0], self._norm)
        if not config.attends(place):
            return Layer(block)
        return Layer(block, SpatialTransformer(config, place.cout, config.heads[place.level]))

    def encode(self, given: Given) -> Encoded:
        """All that depends on the condition alone.

        Reads `text_tokens` and `text_mask`; where the network is conditional on z_i
        `noised_image_embed`, or else `image_embed`, which is then noised not at all; where it
        inpaints `known_latents`.
        The context is the text's keys and values for each transformer block.
        """
        # a prompt stands in several rows when several pictures are drawn of it
        tokens, rows = torch.unique(self._tokens(given), dim=0, return_inverse=True)
        context = self._read(tokens)  # (prompts, N, W')
        if "text_weights" in given:
            weights, each = self._chunks(given["text_weights"]), self._chunks(context[rows])
            context = torch.cat(torch.split(weighted(each, weights), len(rows)), dim=1)
            rows = torch.arange(len(rows), device=rows.device)
        vector = None
        if self.config.embed_dim:
            vector = self.image(self._features(given), given.get("keep_image"))
        keys_values = [block.keys_values(context)[rows] for block in self.blocks()]
        known = given["known_latents"] if self.config.inpaint else None
        return Encoded(vector, tuple(keys_values), known=known)

    def _read(self, tokens: Tensor) -> Tensor:
        """(B, N) -> (B, N, W'): chunk by chunk where N is several times the encoder's context."""
        chunks = self._chunks(tokens)
        read = self.text(chunks, torch.ones_like(chunks, dtype=torch.bool))
        return torch.cat(torch.split(read, len(tokens)), dim=1)

    def _chunks(self, x: Tensor) -> Tensor:
        """(B, k·N, ...) -> (k·B, N, ...)."""
        return torch.cat(torch.split(x, self.config.text.context, dim=1))

    def _features(self, given: Given) -> Tensor:
        if "noised_image_embed" in given:
            return given["noised_image_embed"]
        z_i = given["image_embed"]
        return self.image.features(z_i, z_i.new_zeros(len(z_i)))

    def _tokens(self, given: Given) -> Tensor:
        """(B, N): padding, and the empty text for those that are hidden, as the file wants it."""
        tokens = given["text_tokens"].where(given["text_mask"], self.config.pad_id)
        empty = tokens.new_full(tokens.shape[1:], self.config.pad_id)
        for chunk in torch.split(empty, self.config.text.context):
            chunk[: len(self.config.empty)] = tokens.new_tensor(self.config.empty)
        return select(given.get("keep_text"), tokens, empty)

    def blocks(self) -> Iterator[TransformerBlock]:
        """Transformer blocks in the order they run."""
        for module in (*self.down.modules(), *self.middle.modules(), *self.up.modules()):
            if isinstance(module, TransformerBlock):
                yield module

    def run(
        self, h: Tensor, emb: Tensor, context: Iterator[Any], mask: Tensor | None = None
    ) -> Tensor:
        """See `Levels`; an odd side that was halved is doubled to what it was."""
        skips, h = self.descend(h, emb, context, mask)
        for layer in self.up:
            if isinstance(layer, Resample):
                h = layer(h, size=skips[-1].shape[2:])
            else:
                h = layer(torch.cat([h, skips.pop()], dim=1), emb, context, mask)
        return h

    def forward(self, x: Tensor, t: Tensor, encoded: Encoded) -> Tensor:
        """(B, C, H, W) noisy latents, (B,) timestep -> (B, out_channels, H, W)."""
        emb = self.time(t)
        emb = F.silu(emb if encoded.vector is None else emb + encoded.vector)
        if encoded.known is not None:
            x = torch.cat([x, encoded.known.to(x.dtype)], dim=1)
        h = self.run(self.conv_in(laid_out(x)), emb, iter(encoded.context))
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return out


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(B, heads, N, head_dim) and keys and values -> (B, N, C)."""
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
