"""A Transformer that denoises pictures as sequences of patches.

After DiT (arXiv 2212.09748) and JiT (arXiv 2511.13720): large patches, a narrow layer they pass
through, and the condition twice, as tokens beside the picture's and in what follows the norms. What
makes large patches learnable is the x0 that it predicts: noise fills all of a patch's values, and
pictures few of their dimensions (JiT, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import Layers
from .conditioning import Conditioned, Encoded, Given, NetConfig
from .layers import TimestepMlp, laid_out, timestep_embedding, trimmed, zero
from .text import TextConfig


class DiTConfig(NetConfig):
    """A Transformer on the patches of a picture, with its condition as tokens beside them."""

    kind: Literal["dit"] = "dit"
    patch_size: int = Field(gt=0, description="side of a patch, which is one token")
    bottleneck: int = Field(
        0, ge=0, description="width that a patch's values pass through; 0 is the tokens' own"
    )
    width: int = Field(gt=0, description="of a token; a multiple of 4")
    depth: Layers = Field(ge=1)
    heads: int = Field(gt=0)
    mlp_width: int = Field(0, ge=0, description="of the hidden layers; 0 is 8/3 of the width")
    pooled_input: bool = Field(
        False,
        description="the mean of x_t joins the timestep: a few numbers for a network that draws in "
        "one call to tell seeds apart by",
    )
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
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is not a multiple of {self.patch_size}")
        if self.width % (4 * self.heads):
            raise ValueError(f"width {self.width} is not a multiple of 4 x heads {self.heads}")
        if self.text_of_clip and not self.text:
            raise ValueError("text_of_clip needs text: the size of CLIP's text encoder")
        return self

    def build(self) -> DiT:
        """The network."""
        return DiT(self)

    @property
    def reads(self) -> frozenset[str]:
        """See `NetConfig`."""
        text = {"text_tokens", "text_mask"} if self.text else set()
        return frozenset(text | ({"image_embed"} if self.embed_dim else set()))

    @property
    def unit(self) -> int:
        """A patch."""
        return self.patch_size

    @property
    def knows_places(self) -> bool:
        """Attention is told how far patches are apart, and where they lie."""
        return True

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
    def context_width(self) -> int:
        """Context tokens stand beside the picture's."""
        return self.width


class DiT(Conditioned):
    """The whole network. `encode` does the work of a prompt, `forward` that of a step."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        size, width = config.patch_size, config.width
        narrow = config.bottleneck or width
        self.time = TimestepMlp(width, width)
        if config.pooled_input:
            self.pool = nn.Linear(config.in_channels, width)
        self.add_condition(width)
        # a patch passes through fewer numbers than it has: JiT, section 4.3
        self.patch = nn.Conv2d(config.in_channels + 4 * config.inpaint, narrow, size, size)
        self.widen = nn.Conv2d(narrow, width, 1)
        self.modulation = zero(nn.Linear(width, 6 * width))
        hidden = config.mlp_width or 8 * width // 3
        self.blocks = nn.ModuleList(
            DiTBlock(width, config.heads, hidden) for _ in range(config.depth)
        )
        if config.align_dim:
            self.aligned_layer = nn.Identity()  # where its picture passes by
            self.align = PlaceConv(width, config.align_dim, 3, padding=1)
        self.norm_out = RmsNorm(width)
        self.modulation_out = zero(nn.Linear(width, 2 * width))
        self.unpatch = zero(nn.Linear(width, config.out_channels * size**2))

    def conditions(self, given: Given) -> tuple[list[Tensor], list[Tensor], Tensor | None]:
        """See `Conditioned`; padding counts for nothing, and on a CPU is not computed."""
        vectors, tokens, _ = super().conditions(given)
        if not self.config.text:
            return vectors, tokens, None
        *others, text = tokens
        mask = self.shown_text(given)[1]
        if mask.device.type == "cpu":  # a GPU would have to wait for the number of tokens
            mask = trimmed(mask)
        count = sum(one.shape[1] for one in others)
        return vectors, [*others, text[:, : mask.shape[1]]], F.pad(mask, (count, 0), value=True)

    def encode(self, given: Given) -> Encoded:
        """All that depends on the condition alone. Reads what `UNet.encode` does, but `low_res`."""
        vectors, tokens, mask = self.conditions(given)
        return Encoded(
            vector=torch.stack(vectors).sum(0) if vectors else None,
            context=(torch.cat(tokens, dim=1),) if tokens else (),  # (B, L, W')
            mask=mask,
            known=self.known(given) if self.config.inpaint else None,
        )

    def forward(self, x: Tensor, t: Tensor, encoded: Encoded) -> Tensor:
        """(B, C, H, W) noisy picture, (B,) timestep -> (B, out_channels, H, W)."""
        emb = self.time(t)
        emb = emb if encoded.vector is None else emb + encoded.vector
        if self.config.pooled_input:  # of noise, each has the variance of a pixel
            emb = emb + self.pool(x.mean(dim=(2, 3)) * (x.shape[2] * x.shape[3]) ** 0.5)
        emb = F.silu(emb)
        x = self.with_known(x, encoded) if self.config.inpaint else x
        patches = self.widen(self.patch(laid_out(x)))  # (B, W', h, w)
        size = patches.shape[2:]
        tokens = patches.flatten(2).transpose(1, 2) + places(size, patches)  # (B, h·w, W')
        before = sum(one.shape[1] for one in encoded.context)  # L
        tokens = self.run(torch.cat([*encoded.context, tokens], dim=1), emb, encoded.mask, size)
        shift, scale = self.modulation_out(emb)[:, None].chunk(2, dim=2)
        out = self.unpatch(self.norm_out(tokens[:, before:]) * (1 + scale) + shift)
        return F.pixel_shuffle(as_picture(out, size), self.config.patch_size)

    def run(self, tokens: Tensor, emb: Tensor, mask: Tensor | None, size: Sequence[int]) -> Tensor:
        """All blocks on (B, L + h·w, W') context and patches; `mask` (B, L) is of the context."""
        count = size[0] * size[1]
        before = tokens.shape[1] - count
        if mask is not None:  # every patch counts
            mask = F.pad(mask, (0, count), value=True)[:, None, None]
        turns = rotations(size, self.config.width // self.config.heads, tokens)
        turns = F.pad(turns, (0, 0, before, 0))  # context has no place: it is not turned
        turn = torch.stack([turns.cos(), turns.sin()]).to(tokens.dtype)
        shared = self.modulation(emb).unflatten(1, (6, -1))  # (B, 6, W')
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, shared, turn, mask)
            if self.config.align_dim and index == self.config.depth // 3:
                self.aligned_layer(as_picture(tokens[:, before:], size))
        return tokens


class DiTBlock(nn.Module):
    """Attention and a gated MLP (SwiGLU, arXiv 2002.05202), both modulated by the timestep.

    All blocks share what makes shifts, scales and gates of the timestep, and each adds its own
    (adaLN-single, arXiv 2310.00426, section 2.3). Gates start at 0 (adaLN-Zero, arXiv 2212.09748,
    section 3.2).
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = RmsNorm(width)
        self.attention = RotaryAttention(width, heads)
        self.norm2 = RmsNorm(width)
        self.mlp_in = nn.Linear(width, 2 * hidden)
        self.mlp_out = nn.Linear(hidden, width)
        self.modulation = nn.Parameter(torch.zeros(6, width))

    def forward(self, x: Tensor, shared: Tensor, turn: Tensor, mask: Tensor | None) -> Tensor:
        """(B, N, W'), (B, 6, W') modulation, rotations, (B, 1, 1, N) mask -> (B, N, W')."""
        each = (shared + self.modulation).unsqueeze(2).unbind(1)  # six of (B, 1, W')
        shift1, scale1, gate1, shift2, scale2, gate2 = each
        h = torch.addcmul(shift1, self.norm1(x), 1 + scale1)
        x = torch.addcmul(x, gate1, self.attention(h, turn, mask))
        h = torch.addcmul(shift2, self.norm2(x), 1 + scale2)
        gate, value = self.mlp_in(h).chunk(2, dim=2)
        return torch.addcmul(x, gate2, self.mlp_out(F.silu(gate) * value))


class RotaryAttention(nn.Module):
    """Self-attention, whose queries and keys are normed and then turned by their places.

    QK norm (arXiv 2302.05442, section 2.1) and RoPE (arXiv 2104.09864, section 3.2).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.norm_q = RmsNorm(width // heads)
        self.norm_k = RmsNorm(width // heads)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, turn: Tensor, mask: Tensor | None) -> Tensor:
        """(B, N, W'), (2, N, D / 2) cosines and sines, (B, 1, 1, N) bool -> (B, N, W')."""
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, N, D)
        q, k = turned(self.norm_q(q), turn), turned(self.norm_k(k), turn)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class RmsNorm(nn.RMSNorm):
    """RMS norm (arXiv 1910.07467) in the number format of its input, whatever its weight's is."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(..., W') -> the same shape."""
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class PlaceConv(nn.Conv2d):
    """A convolution whose channels are last: the projection of iREPA (arXiv 2512.10794)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, h, w, C')."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def as_picture(tokens: Tensor, size: Sequence[int]) -> Tensor:
    """(B, h·w, C) row by row -> (B, C, h, w)."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *size)


def places(size: Sequence[int], like: Tensor) -> Tensor:
    """(h·w, C) features of each patch's row, then of its column, for (B, C, h, w) patches."""
    rows, columns = centred(size, like)
    half = like.shape[1] // 2
    features = [timestep_embedding(one, half) for one in (rows, columns)]
    return torch.cat(features, dim=1).to(like.dtype)


def rotations(size: Sequence[int], dim: int, like: Tensor) -> Tensor:
    """(h·w, dim / 2) angles: the first half turn with the row, the others with the column.

    RoPE on two axes, with frequencies from 1 down to 1 / 100.
    """
    place = torch.arange(dim // 4, dtype=torch.float32, device=like.device)
    frequencies = 100.0 ** -(place / max(1, dim // 4 - 1))
    rows, columns = centred(size, like)
    return torch.cat([rows[:, None] * frequencies, columns[:, None] * frequencies], dim=1)


def centred(size: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
    """(h·w,) each: the row and column of every patch, from the picture's middle, in patches."""
    rows, columns = (
        torch.arange(side, dtype=torch.float32, device=like.device) - (side - 1) / 2
        for side in size
    )
    return rows.repeat_interleave(size[1]), columns.repeat(size[0])


def turned(x: Tensor, turn: Tensor) -> Tensor:
    """(B, heads, N, D), each pair (i, i + D / 2) of numbers turned by its angle."""
    first, second = x.chunk(2, dim=3)
    cos, sin = turn
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=3)


NETWORK = DiTConfig
