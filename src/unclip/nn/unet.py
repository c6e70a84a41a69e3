"""The ADM U-Net with GLIDE's and DALL·E 2's conditioning, for decoder and upsamplers.

Diffusion Models Beat GANs (arXiv 2105.05233, section 3) for the residual blocks with scale and
shift, and their up- and downsampling; GLIDE (arXiv 2112.10741, section 3) for attention to
[context, pixels]; DALL·E 2 (arXiv 2204.06125, section 2.1) for z_i in the timestep embedding and
as extra context tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import LEVELS, Blocks, Config
from ..errors import UsageError
from ..types import Cond
from .layers import (
    PixelNorm,
    TimestepMlp,
    conv_enlarged,
    coordinates,
    normal_parameter,
    select,
    silu_,
    trimmed,
    zero,
)
from .text import TextConfig, TextEncoder


class ClipTextConfig(Config):
    """What CLIP says of the text, in place of a text encoder of the network's own."""

    embed_dim: int = Field(gt=0, description="width of z_t, which joins the timestep embedding")
    width: int = Field(gt=0, description="width of the text encodings, which become context")


class UNetConfig(Config):
    """Size and conditions of a U-Net."""

    image_size: int = Field(gt=0, description="side at which `attention` is reckoned")
    in_channels: int = 3
    out_channels: int = 3
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
    low_res_level: bool = Field(True, description="be told how corrupted that picture is")
    inpaint: bool = Field(False, description="concatenate what is known of the picture, and where")
    mask_of: Literal["unknown", "known"] = Field("unknown", description="where that mask is 1")
    embed_dim: int = Field(0, ge=0, description="width of z_i; 0 is unconditional")
    unit_embed: bool = Field(True, description="z_i is of unit norm, to be brought to 1 a number")
    null_embed: bool = Field(True, description="a learned vector stands for a hidden z_i")
    norm_embed: bool = Field(False, description="LayerNorm on what is made of z_i")
    image_tokens: int = Field(4, ge=1, description="context tokens made of z_i")
    context_dim: int = Field(0, ge=0, description="width of context tokens; 0 is text.width")
    text: TextConfig | None = None
    text_of_clip: bool = Field(
        False, description="the text encoder is built as CLIP's, and training starts from that"
    )
    project_text: bool = Field(True, description="a linear layer between text and context")
    clip_text: ClipTextConfig | None = None
    align_dim: int = Field(
        0, ge=0, description="width of CLIP's patch features that training aligns with; 0 is none"
    )

    @model_validator(mode="after")
    def _divisible(self) -> UNetConfig:
        if self.image_size % self.unit:
            raise ValueError(f"image_size {self.image_size} is not a multiple of {self.unit}")
        if self.channels % 32:
            raise ValueError(f"channels {self.channels} is not a multiple of 32")
        if self.text and self.clip_text:
            raise ValueError("text and clip_text: the text comes from one of them")
        if self.text_of_clip and not self.text:
            raise ValueError("text_of_clip needs text: the size of CLIP's text encoder")
        return self

    @property
    def reads(self) -> frozenset[str]:
        """Fields of Cond that tell it what to draw."""
        own = {"text_tokens", "text_mask"} if self.text else set()
        clip = {"text_mask", "text_embed", "text_encodings"} if self.clip_text else set()
        return frozenset(own | clip | ({"image_embed"} if self.embed_dim else set()))

    @property
    def unit(self) -> int:
        """Every picture's side is a multiple of this: what is folded, halved at each level."""
        unit: int = self.space_to_depth * 2 ** (len(self.multipliers) - 1)
        return unit


@dataclass(frozen=True)
class Encoded:
    """What a U-Net makes of its condition, once a prompt.

    `vector` (B, 4·channels) or None is added to the timestep embedding, `context` holds keys and
    values for each attention layer in order, (B, L, 2·C) each, `mask` (B, L) bool or None says
    which of them count. `low_res` (B, 3, H, W) or None is concatenated to the input, with its
    corruption level (B,) or None; so is `known` (B, 4, H, W), what is known of the picture (0
    elsewhere) and a mask, None where nothing is.
    """

    vector: Tensor | None = None
    context: tuple[Tensor, ...] = ()
    mask: Tensor | None = None
    low_res: Tensor | None = None
    low_res_level: Tensor | None = None
    known: Tensor | None = None


def _align_head(channels: int, width: int) -> nn.Module:
    """(..., channels) -> (..., width)."""
    return nn.Sequential(nn.Linear(channels, width), nn.SiLU(), nn.Linear(width, width))


def _norm(config: UNetConfig, channels: int) -> nn.Module:
    return PixelNorm(channels) if config.norm == "layer" else nn.GroupNorm(32, channels)


class ResBlock(nn.Module):
    """Norm, SiLU, convolution twice; the timestep enters at the second norm.

    What enters is the SiLU of the timestep's embedding: the same for all blocks, it is not made
    here.
    """

    def __init__(self, config: UNetConfig, cin: int, cout: int, resample: str = "") -> None:
        super().__init__()
        self.resample = resample
        self.norm1 = _norm(config, cin)
        self.conv1 = nn.Conv2d(cin, cout, 3, padding=1)
        self.scale_shift = config.scale_shift
        self.emb = nn.Linear(4 * config.channels, 2 * cout if config.scale_shift else cout)
        self.norm2 = _norm(config, cout)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = zero(nn.Conv2d(cout, cout, 3, padding=1))
        self.skip = nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """(B, cin, H, W), (B, E) -> (B, cout, H', W')."""
        h = silu_(self.norm1(x))
        h = conv_enlarged(h, self.conv1) if self.resample == "up" else self.conv1(self._down(h))
        emb = self.emb(emb)[..., None, None]
        if self.scale_shift:
            scale, shift = emb.chunk(2, dim=1)
            h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        else:
            h = self.norm2(h + emb)
        h = silu_(h)
        h = self.conv2(self.dropout(h) if self.training else h)
        if self.resample == "up":
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        out: Tensor = h.add_(self.skip(self._down(x)))
        return out

    def _down(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2) if self.resample == "down" else x


class AttentionBlock(nn.Module):
    """Pixels look at the context tokens and at each other, in one softmax."""

    def __init__(self, config: UNetConfig, channels: int, context_dim: int) -> None:
        super().__init__()
        self.heads = max(1, channels // config.head_dim)
        if channels % self.heads:
            raise UsageError(f"{channels} channels cannot be split into {self.heads} heads")
        self.norm = _norm(config, channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.context = nn.Linear(context_dim, 2 * channels) if context_dim else None
        self.proj = zero(nn.Linear(channels, channels))

    def keys_values(self, context: Tensor) -> Tensor:
        """(B, L, context_dim) -> (B, L, 2·C), the part that does not change from step to step."""
        assert self.context is not None
        out: Tensor = self.context(context)
        return out

    def forward(self, x: Tensor, context: Tensor | None, mask: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W). `mask` (B, L) says which of the context counts."""
        pixels = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)  # (B, H·W, C)
        batch, channels, height, width = x.shape
        q, kv = self.qkv(pixels).split([channels, 2 * channels], dim=2)
        if context is not None:
            kv = torch.cat([context, kv], dim=1)  # (B, L + H·W, 2·C)
        q = q.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, H·W, head_dim)
        k, v = kv.unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        if mask is not None:  # every pixel counts
            mask = F.pad(mask, (0, k.shape[2] - mask.shape[1]), value=True)[:, None, None]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))  # (B, H·W, C)
        return out.view(batch, height, width, channels).permute(0, 3, 1, 2).add_(x)


class Layer(nn.Module):
    """A residual block and, at the sides where the configuration wants it, attention."""

    def __init__(self, block: ResBlock, attention: AttentionBlock | None) -> None:
        super().__init__()
        self.block = block
        self.attention = attention

    def forward(
        self, x: Tensor, emb: Tensor, context: Iterator[Tensor], mask: Tensor | None
    ) -> Tensor:
        """(B, C, H, W), (B, E), the next keys and values, their mask -> (B, C', H', W')."""
        out: Tensor = self.block(x, emb)
        if self.attention is not None:
            out = self.attention(out, next(context, None), mask)
        return out


class UNet(nn.Module):
    """The whole network. `encode` does the work of a prompt, `forward` that of a step."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.fold = config.space_to_depth
        emb = 4 * config.channels
        self.time = TimestepMlp(config.channels, emb)
        self._build_condition(emb)
        cin = (config.in_channels + 3 * config.low_res + 4 * config.inpaint) * self.fold**2
        self.conv_in = nn.Conv2d(cin + 2 * config.coordinates, config.channels, 3, padding=1)
        skips = self._build_down()
        self._build_up(skips)
        last = config.multipliers[0] * config.channels
        if config.align_dim:
            self.align = _align_head(self.aligned_layer.block.conv2.out_channels, config.align_dim)
        self.norm_out = _norm(config, last)
        self.conv_out = zero(nn.Conv2d(last, config.out_channels * self.fold**2, 3, padding=1))

    def _build_condition(self, emb: int) -> None:
        config, clip = self.config, self.config.clip_text
        text_width = config.text.width if config.text else clip.width if clip else 0
        self.context_dim = config.context_dim or text_width or (emb if config.embed_dim else 0)
        if config.text:
            self.text = TextEncoder(config.text, causal=config.text_of_clip)
            self.text_vector = nn.Linear(text_width, emb)
        if clip:
            self.text_vector = nn.Linear(clip.embed_dim, emb)
            self.text_norm = nn.LayerNorm(self.context_dim)
        if text_width and config.project_text:
            self.text_context = nn.Linear(text_width, self.context_dim)
        if config.embed_dim:
            self._build_image_condition(config, emb)
        if config.low_res and config.low_res_level:
            self.low_res_time = TimestepMlp(config.channels, emb)

    def _build_image_condition(self, config: UNetConfig, emb: int) -> None:
        if config.null_embed:
            self.null_image = normal_parameter(config.embed_dim, std=config.embed_dim**-0.5)
        self.image_vector = nn.Linear(config.embed_dim, emb)
        self.image_context = nn.Linear(config.embed_dim, config.image_tokens * self.context_dim)
        if config.norm_embed:
            self.image_vector_norm = nn.LayerNorm(emb)
            self.image_context_norm = nn.LayerNorm(self.context_dim)

    def _layer(self, cin: int, cout: int, side: int, resample: str = "") -> Layer:
        attend = side in self.config.attention and not resample
        attention = AttentionBlock(self.config, cout, self.context_dim) if attend else None
        return Layer(ResBlock(self.config, cin, cout, resample), attention)

    def _build_down(self) -> list[int]:
        """Make the down path and the middle; return the channels of each skip connection."""
        config, side = self.config, self.config.image_size // self.fold
        self.down = nn.ModuleList()
        channels, skips = config.channels, [config.channels]
        for level, multiplier in enumerate(config.multipliers):
            if level:
                side //= 2
                self.down.append(self._layer(channels, channels, side, "down"))
                skips.append(channels)
            for _ in range(config.depth):
                self.down.append(self._layer(channels, multiplier * config.channels, side))
                channels = multiplier * config.channels
                skips.append(channels)
        self.middle = nn.ModuleList(
            [
                self._layer(channels, channels, side),
                Layer(ResBlock(config, channels, channels), None),
            ]
        )
        return skips

    def _build_up(self, skips: list[int]) -> None:
        config = self.config
        side = config.image_size // self.fold // 2 ** (len(config.multipliers) - 1)
        self.up = nn.ModuleList()
        channels = skips[-1]
        for level, multiplier in reversed(list(enumerate(config.multipliers))):
            for _ in range(config.depth + 1):
                cout = multiplier * config.channels
                self.up.append(self._layer(channels + skips.pop(), cout, side))
                channels = cout
            if level:
                side *= 2
                self.up.append(self._layer(channels, channels, side, "up"))

    @property
    def aligned_layer(self) -> Layer:
        """The layer whose features `align` compares: the first after the first enlargement."""
        layers = [layer for layer in self.up if isinstance(layer, Layer)]
        enlarged = [layer.block.resample == "up" for layer in layers]
        return layers[enlarged.index(True) + 1] if any(enlarged) else layers[0]

    def encode(self, cond: Cond) -> Encoded:
        """All that depends on the condition alone.

        Reads `text_tokens` and `text_mask` where the network has a text encoder (without them it
        takes a caption that is all padding), `text_embed`, `text_encodings` and `text_mask` where
        CLIP's is used, `image_embed` where it is conditional, `low_res` and `low_res_level` where
        it is an upsampler, `known` and `mask`, if they are there, where it can inpaint.
        """
        vectors: list[Tensor] = []
        tokens: list[Tensor] = []
        mask: Tensor | None = None
        if self.config.embed_dim:
            self._encode_image(cond, vectors, tokens)
        if self.config.text:
            self._encode_text(cond, vectors, tokens)
        if self.config.clip_text:
            mask = self._take_text(cond, vectors, tokens)
        context = torch.cat(tokens, dim=1) if tokens else None  # (B, L, context_dim)
        keys_values = [
            layer.keys_values(context) for layer in self._attentions() if context is not None
        ]
        level = self.config.low_res and self.config.low_res_level
        return Encoded(
            vector=torch.stack(vectors).sum(0) if vectors else None,
            context=tuple(keys_values),
            mask=mask,
            low_res=cond.low_res if self.config.low_res else None,
            low_res_level=cond.low_res_level if level else None,
            known=_known(cond, self.config.mask_of) if self.config.inpaint else None,
        )

    def _encode_image(self, cond: Cond, vectors: list[Tensor], tokens: list[Tensor]) -> None:
        assert cond.image_embed is not None
        z_i = cond.image_embed.to(self.image_vector.weight.dtype)
        if self.config.null_embed:
            z_i = select(cond.keep_image, z_i, self.null_image)
        if self.config.unit_embed:
            # unit norm spread over D numbers is tiny: bring each to about 1
            z_i = z_i * self.config.embed_dim**0.5
        vector = self.image_vector(z_i)
        context = self.image_context(z_i).view(len(z_i), -1, self.context_dim)
        if self.config.norm_embed:
            vector, context = self.image_vector_norm(vector), self.image_context_norm(context)
        vectors.append(vector)
        tokens.append(context)

    def _encode_text(self, cond: Cond, vectors: list[Tensor], tokens: list[Tensor]) -> None:
        ids, mask = cond.text_tokens, cond.text_mask
        if ids is None or mask is None:  # a picture to be enlarged, of which nothing is said
            shape = (len(cond), self.text.config.context)
            ids = torch.zeros(shape, dtype=torch.long, device=self.text.positions.device)
            mask = ids > 0
        if cond.keep_text is not None:
            mask = mask & cond.keep_text[:, None]
        text = self.text(ids, mask)  # (B, N, W')
        vectors.append(self.text_vector(text[:, -1]))
        tokens.append(self.text_context(text) if self.config.project_text else text)

    def _take_text(self, cond: Cond, vectors: list[Tensor], tokens: list[Tensor]) -> Tensor | None:
        """CLIP's words, without the padding that no prompt of the batch needs; gives their mask."""
        assert cond.text_embed is not None
        assert cond.text_encodings is not None and cond.text_mask is not None
        dtype = self.text_norm.weight.dtype
        mask = trimmed(cond.text_mask)
        text = cond.text_encodings[:, : mask.shape[1]].to(dtype)
        text = self.text_context(text) if self.config.project_text else text
        vectors.append(self.text_vector(cond.text_embed.to(dtype)))
        tokens.append(self.text_norm(text))
        before = sum(one.shape[1] for one in tokens[:-1])
        return None if mask.all() else F.pad(mask, (before, 0), value=True)

    def _attentions(self) -> list[AttentionBlock]:
        """Attention layers in the order they run."""
        layers = [*self.down, *self.middle, *self.up]
        return [layer.attention for layer in layers if layer.attention is not None]

    def forward(self, x: Tensor, t: Tensor, encoded: Encoded) -> Tensor:
        """(B, C, H, W) noisy picture, (B,) timestep -> (B, out_channels, H, W)."""
        emb = self.time(t)
        if encoded.vector is not None:
            emb = emb + encoded.vector
        if encoded.low_res is not None:
            x = torch.cat([x, encoded.low_res.to(x.dtype)], dim=1)
        if self.config.inpaint:
            known = encoded.known
            known = _nothing_known(x, self.config.mask_of) if known is None else known.to(x.dtype)
            x = torch.cat([x, known], dim=1)
        if encoded.low_res_level is not None:
            emb = emb + self.low_res_time(1000 * encoded.low_res_level)
        emb = F.silu(emb)
        context = iter(encoded.context)
        x = F.pixel_unshuffle(x, self.fold)
        if self.config.coordinates:
            x = torch.cat([x, coordinates(x)], dim=1)
        h = self.conv_in(x.contiguous(memory_format=_layout(x)))
        skips = [h]
        for layer in self.down:
            h = layer(h, emb, context, encoded.mask)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, emb, context, encoded.mask)
        for layer in self.up:
            assert isinstance(layer, Layer)
            if layer.block.resample != "up":
                h = torch.cat([h, skips.pop()], dim=1)
            h = layer(h, emb, context, encoded.mask)
        out: Tensor = F.pixel_shuffle(self.conv_out(silu_(self.norm_out(h))), self.fold)
        return out


def _known(cond: Cond, mask_of: str) -> Tensor | None:
    """(B, 4, H, W): the known part, and a mask (GLIDE, section 4.1)."""
    if cond.known is None or cond.mask is None:
        return None
    shown = 1 - cond.mask
    return torch.cat([cond.known * shown, shown if mask_of == "known" else cond.mask], dim=1)


def _nothing_known(x: Tensor, mask_of: str) -> Tensor:
    """(B, 4, H, W) for a picture that is painted whole."""
    shape = (len(x), 1, *x.shape[2:])
    mask = x.new_zeros(shape) if mask_of == "known" else x.new_ones(shape)
    return torch.cat([x.new_zeros(shape).expand(-1, 3, -1, -1), mask], dim=1)


def _layout(x: Tensor) -> torch.memory_format:
    """channels_last where tensors hold data: convolutions are faster so on CPU and GPU alike."""
    return torch.contiguous_format if x.device.type == "meta" else torch.channels_last
