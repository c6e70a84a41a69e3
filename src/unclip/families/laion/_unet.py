"""The U-Net of LAION's decoders and upsamplers, of DALLE2-pytorch's make.

Beside the ADM U-Net of `nn/unet.py` it has cross attention inside the residual blocks, attention
that is linear in the number of pixels, and a first convolution of several sizes. z_i enters as in
the paper (arXiv 2204.06125, section 2.1): with the timestep and as context tokens; the text's
encodings are seen by the middle blocks alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import LEVELS, Blocks
from ...nn.conditioning import Encoded, Given, NetConfig, batch_of
from ...nn.layers import laid_out, normal_parameter, select, zero
from ._blocks import (
    CrossAttention,
    CrossEmbed,
    Growth,
    LinearAttention,
    OverPixels,
    ResBlock,
    Signal,
    SineMlp,
    Upsample,
)
from ._layers import Dialect, SharedKeyAttention


class LaionUNetConfig(NetConfig):
    """Size and conditions of a U-Net. What is a tuple has an entry a level."""

    dialect: Dialect = "1.15.6"
    out_channels: int = 6
    channels: int = Field(gt=0, multiple_of=2)
    multipliers: tuple[int, ...] = Field(min_length=1, max_length=LEVELS)
    depth: tuple[Blocks, ...] = Field(min_length=1, description="residual blocks after the first")
    groups: tuple[int, ...] = Field(min_length=1, description="of the norms")
    attention: tuple[bool, ...] = Field(min_length=1, description="pixels look at each other")
    linear_attention: bool = Field(False, description="where `attention` is not, linearly")
    heads: int = Field(16, gt=0)
    head_dim: int = Field(32, gt=0)
    cosine: bool = Field(False, description="attention by cosine")
    cosine_cross: bool = Field(False, description="cross attention by cosine")
    time_tokens: int = Field(2, ge=1, description="context tokens made of the timestep")
    embed_dim: int = Field(0, ge=0, description="width of z_i; 0 is unconditional")
    image_tokens: int = Field(4, ge=1, description="context tokens made of z_i")
    image_in_time: bool = Field(True, description="add z_i to the timestep")
    text_width: int = Field(0, ge=0, description="width of the text's encodings; 0 reads none")
    context: int = Field(256, gt=0, description="text tokens (N); shorter texts are padded")
    context_dim: int = Field(gt=0, description="width of context tokens")
    low_res: bool = Field(False, description="concatenate a low-resolution picture")
    low_res_noise: bool = Field(False, description="be told how noisy that picture is")
    first_kernels: tuple[int, ...] = Field((3, 7, 15), min_length=1, max_length=LEVELS)
    last_kernel: int = Field(1, ge=1)
    down_kernels: tuple[int, ...] = Field(
        (), max_length=LEVELS, description="none is the dialect's own"
    )
    down_first: bool = Field(False, description="halve the picture before a level, not after it")
    upsample: Growth = Field("shuffle", description="how the picture is doubled")
    scale_skips: bool = Field(False, description="multiply skip connections by the root of 1/2")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        levels = len(self.multipliers)
        for name in ("depth", "groups", "attention"):
            if len(getattr(self, name)) != levels:
                raise ValueError(f"{name} needs {levels} entries, one for each multiplier")
        if not self.down_first and self.multipliers[0] != 1:
            raise ValueError("the first of multipliers is 1 unless down_first")
        if self.image_size % self.unit:
            raise ValueError(f"image_size {self.image_size} is not a multiple of {self.unit}")
        return self

    def build(self) -> LaionUNet:
        """The network."""
        return LaionUNet(self)

    @property
    def unit(self) -> int:
        """What is halved at each level."""
        unit: int = 2 ** (len(self.multipliers) - (0 if self.down_first else 1))
        return unit

    @property
    def resizes(self) -> bool:
        """It is made of convolutions, and of attention that depends on no size."""
        return True

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Channels before and after each level."""
        wide = [self.channels, *(self.channels * factor for factor in self.multipliers)]
        return list(pairwise(wide))

    @property
    def halving(self) -> tuple[int, ...]:
        """Kernels of a convolution with stride 2."""
        return self.down_kernels or ((2,) if self.dialect == "1.15.6" else (4,))

    @property
    def reads(self) -> frozenset[str]:
        """See `NetConfig`."""
        image = {"image_embed"} if self.embed_dim else set()
        text = {"text_encodings", "text_mask"} if self.text_width else set()
        return frozenset(image | text)


class Down(nn.Module):
    """A level on the way down."""

    def __init__(
        self, before: nn.Module, blocks: list[ResBlock], attention: nn.Module, after: nn.Module
    ) -> None:
        super().__init__()
        self.before = before
        self.blocks = nn.ModuleList(blocks)
        self.attention = attention
        self.after = after


class Up(nn.Module):
    """A level on the way up."""

    def __init__(self, blocks: list[ResBlock], attention: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.attention = attention
        self.after = after


class LaionUNet(nn.Module):
    """The whole network. `encode` does the work of a prompt, `forward` that of a step."""

    def __init__(self, config: LaionUNetConfig) -> None:
        super().__init__()
        self.config = config
        channels, emb = config.channels, 4 * config.channels
        self.time = SineMlp(channels, emb)
        self.time_tokens = nn.Linear(emb, config.time_tokens * config.context_dim)
        self.norm_context = nn.LayerNorm(config.context_dim)
        self.norm_middle = nn.LayerNorm(config.context_dim)
        self._build_condition(emb)
        cin = config.in_channels + 3 * config.low_res
        self.conv_in = CrossEmbed(cin, channels, config.first_kernels, stride=1)
        top = config.groups[0]
        self.first = ResBlock(channels, channels, emb, top) if config.down_first else None
        self.down = nn.ModuleList(self._down(level) for level in range(len(config.sizes)))
        wide = config.sizes[-1][1]
        self.middle1 = self._block(wide, wide, -1, self._cross(wide, middle=True))
        self.middle_attention = OverPixels(self._attention(wide))
        self.middle2 = self._block(wide, wide, -1, self._cross(wide, middle=True))
        self.up = nn.ModuleList(self._up(level) for level in reversed(range(len(config.sizes))))
        self.last = ResBlock(2 * channels, channels, emb, top)
        last = channels + 3 * config.low_res
        size = config.last_kernel
        self.conv_out = zero(nn.Conv2d(last, config.out_channels, size, padding=size // 2))

    def _build_condition(self, emb: int) -> None:
        config, width = self.config, self.config.context_dim
        if config.embed_dim:
            self.image_tokens = nn.Linear(config.embed_dim, config.image_tokens * width)
            self.null_image_tokens = normal_parameter(config.image_tokens, width)
        if config.embed_dim and config.image_in_time:
            self.image_vector = nn.Linear(config.embed_dim, emb)
            self.null_image_vector = normal_parameter(emb)
        if config.text_width:
            self.text_in = nn.Linear(config.text_width, width)
            self.null_text = normal_parameter(config.context, width)
        if config.low_res_noise:
            self.low_res_time = SineMlp(config.channels, emb)

    def _block(
        self, cin: int, cout: int, level: int, cross: CrossAttention | None = None
    ) -> ResBlock:
        return ResBlock(cin, cout, 4 * self.config.channels, self.config.groups[level], cross)

    def _cross(self, width: int, middle: bool = False) -> CrossAttention:
        return CrossAttention(width, self.config.context_dim, middle, self.config.cosine_cross)

    def _attention(self, width: int) -> SharedKeyAttention:
        config = self.config
        # version 1.15.6 multiplies by the scale twice
        scale = config.head_dim ** (-1.0 if config.dialect == "1.15.6" else -0.5)
        return SharedKeyAttention(width, config.heads, config.head_dim, scale, config.cosine)

    def _over_pixels(self, width: int, level: int) -> nn.Module:
        config = self.config
        if config.attention[level]:
            return OverPixels(self._attention(width))
        if config.linear_attention:
            tamed = config.dialect == "1.15.6"
            return OverPixels(LinearAttention(width, config.heads, config.head_dim, tamed))
        return nn.Identity()

    def _down(self, level: int) -> Down:
        config = self.config
        cin, cout = config.sizes[level]
        wide = cout if config.down_first else cin
        blocks = [self._block(wide, wide, level)]
        for _ in range(config.depth[level]):
            cross = self._cross(wide) if level else None
            blocks.append(self._block(wide, wide, level, cross))
        halve = CrossEmbed(cin, cout, config.halving, stride=2)
        attention = self._over_pixels(wide, level)
        if config.down_first:
            return Down(halve, blocks, attention, nn.Conv2d(wide, cout, 1))
        last = level == len(config.sizes) - 1
        return Down(nn.Identity(), blocks, attention, nn.Conv2d(wide, cout, 1) if last else halve)

    def _up(self, level: int) -> Up:
        config = self.config
        cout, wide = config.sizes[level]  # on the way up it gets narrower
        skip = wide if config.down_first else cout
        blocks = [
            self._block(wide + skip, wide, level, self._cross(wide) if level else None)
            for _ in range(config.depth[level] + 1)
        ]
        grow = level > 0 or config.down_first
        after = Upsample(wide, cout, config.upsample) if grow else nn.Identity()
        return Up(blocks, self._over_pixels(wide, level), after)

    def encode(self, given: Given) -> Encoded:
        """All that depends on the condition alone.

        Reads `image_embed` where the network is conditional, `text_encodings` and `text_mask`
        where it reads text, `low_res` and `low_res_level` (B,) 0 to 1 where it is an upsampler.
        """
        image, batch = self._image_tokens(given), batch_of(given)
        parts = [part for part in (image, self._text_tokens(given)) if part is not None]
        middle = self.norm_middle(torch.cat(parts, dim=1)) if parts else None
        outer = None if image is None else self.norm_context(image)
        context = [
            cross.start(batch, middle if cross.middle else outer) for cross in self._crosses()
        ]
        low_res = given["low_res"] if self.config.low_res else None
        return Encoded(self._vector(given), tuple(context), low_res=low_res)

    def _vector(self, given: Given) -> Tensor | None:
        """(B, 4·channels): what is added to the timestep's."""
        vector = None
        if self.config.embed_dim and self.config.image_in_time:
            z_i = given["image_embed"].to(self.null_image_vector.dtype)
            vector = F.gelu(self.image_vector(z_i))
            vector = select(given.get("keep_image"), vector, self.null_image_vector)
        if self.config.low_res_noise and "low_res_level" in given:
            noise = self.low_res_time(1000 * given["low_res_level"])
            vector = noise if vector is None else vector + noise
        return vector

    def _image_tokens(self, given: Given) -> Tensor | None:
        """(B, image_tokens, context_dim)."""
        if not self.config.embed_dim:
            return None
        null = self.null_image_tokens
        tokens = self.image_tokens(given["image_embed"].to(null.dtype))
        return select(given.get("keep_image"), tokens.view(len(tokens), *null.shape), null)

    def _text_tokens(self, given: Given) -> Tensor | None:
        """(B, context, context_dim): learned vectors where there is no text, or none is given."""
        if not self.config.text_width:
            return None
        null = self.null_text
        if "text_encodings" not in given or "text_mask" not in given:
            return null.expand(batch_of(given), -1, -1)
        encodings, mask = given["text_encodings"], given["text_mask"]
        count = min(encodings.shape[1], self.config.context)
        text = self.text_in(encodings[:, :count].to(null.dtype))
        text = torch.where(mask[:, :count, None], text, null[:count])
        rest = null[count:].expand(len(text), -1, -1)
        return select(given.get("keep_text"), torch.cat([text, rest], dim=1), null)

    def _crosses(self) -> Iterator[CrossAttention]:
        """Cross attentions in the order they run."""
        blocks = [block for level in self.down for block in level.blocks]  # type: ignore[union-attr]
        blocks += [self.middle1, self.middle2]
        blocks += [block for level in self.up for block in level.blocks]  # type: ignore[union-attr]
        for block in blocks:
            assert isinstance(block, ResBlock)
            if block.cross is not None:
                yield block.cross

    def forward(self, x: Tensor, t: Tensor, encoded: Encoded) -> Tensor:
        """(B, C, H, W) noisy picture, (B,) timestep -> (B, out_channels, H, W)."""
        signal = self._signal(t, encoded)
        low_res = None if encoded.low_res is None else encoded.low_res.to(x.dtype)
        x = x if low_res is None else torch.cat([x, low_res], dim=1)
        start = self.conv_in(laid_out(x))
        h = start if self.first is None else self.first(start, signal)
        h, skips = self._go_down(h, signal)
        h = self.middle2(self.middle_attention(self.middle1(h, signal)), signal)
        for level in self.up:
            assert isinstance(level, Up)
            for block in level.blocks:
                h = block(torch.cat([h, skips.pop()], dim=1), signal)
            h = level.after(level.attention(h))
        h = self.last(torch.cat([h, start], dim=1), signal)
        h = h if low_res is None else torch.cat([h, low_res], dim=1)
        out: Tensor = self.conv_out(h)
        return out

    def _signal(self, t: Tensor, encoded: Encoded) -> Signal:
        hidden = self.time.hidden(t)
        emb = self.time.fc2(hidden)
        emb = emb if encoded.vector is None else emb + encoded.vector
        times = self.time_tokens(hidden).view(len(t), self.config.time_tokens, -1)
        return Signal(
            F.silu(emb), self.norm_context(times), self.norm_middle(times), iter(encoded.context)
        )

    def _go_down(self, h: Tensor, signal: Signal) -> tuple[Tensor, list[Tensor]]:
        """What reaches the middle, and the skip connections: all blocks' but each level's first."""
        scale = 2**-0.5 if self.config.scale_skips else 1.0
        skips = []
        for level in self.down:
            assert isinstance(level, Down)
            h = level.blocks[0](level.before(h), signal)
            for block in level.blocks[1:]:
                h = block(h, signal)
                skips.append(h)
            h = level.attention(h)
            skips.append(h)
            h = level.after(h)
        if scale != 1:
            skips = [skip * scale for skip in skips]
        return h, skips
