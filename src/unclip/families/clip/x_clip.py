"""x-clip as a stage: lucidrains' CLIP, the one that DALLE2-pytorch trains, in its default shape.

Other than CLIP's, its text encoder looks both ways and puts a token of its own before the words,
its image encoder pools the mean of the patches, its norms have no bias, its attention ends in one,
and its hidden layers are gated (GEGLU, arXiv 2002.05202).
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ...nn.clip import Clip, ClipConfig, VisionConfig
from ...nn.layers import normal_parameter
from ...nn.text import TextConfig
from ...nn.transformer import TransformerConfig
from ...stages.clip import ClipStage, ClipStageConfig


class XClipConfig(ClipConfig):
    """Size of both encoders, which must be there."""

    head_dim: int = Field(64, gt=0, description="of all heads; together they need not be `width`")

    @model_validator(mode="after")
    def _both(self) -> Self:
        if self.vision is None or self.text is None:
            raise ValueError("x_clip needs both vision and text")
        return self

    def build(self) -> Clip:
        """The network."""
        return XClip(self)


class _Attention(nn.Module):
    def __init__(self, config: TransformerConfig, head_dim: int) -> None:
        super().__init__()
        self.heads, inner = config.heads, config.heads * head_dim
        self.qkv = nn.Linear(config.width, 3 * inner, bias=False)
        self.proj = nn.Linear(inner, config.width, bias=False)
        self.norm = nn.LayerNorm(config.width, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, N, W') -> the same; where `mask` (B, 1, 1, N) is False nothing looks."""
        batch, count, _ = x.shape
        qkv = self.qkv(x).view(batch, count, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, N, head_dim)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.norm(self.proj(mixed.transpose(1, 2).flatten(2)))
        return out


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, 2 * hidden, bias=False)
        self.norm = nn.LayerNorm(hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, W') -> the same."""
        value, gate = self.up(x).chunk(2, dim=-1)
        out: Tensor = self.down(self.norm(value * F.gelu(gate)))
        return out


class _Block(nn.Module):
    def __init__(self, config: TransformerConfig, head_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, bias=False)
        self.attention = _Attention(config, head_dim)
        self.norm2 = nn.LayerNorm(config.width, bias=False)
        self.mlp = _Mlp(config.width, config.mlp_width or 4 * config.width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, N, W') -> the same."""
        x = x + self.attention(self.norm1(x), mask)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class _Transformer(nn.Module):
    """A norm, blocks in which every token sees every other that is not masked, a norm."""

    def __init__(self, config: TransformerConfig, head_dim: int) -> None:
        super().__init__()
        self.norm_in = nn.LayerNorm(config.width, bias=False)
        self.blocks = nn.ModuleList(_Block(config, head_dim) for _ in range(config.depth))
        self.norm_out = nn.LayerNorm(config.width, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, N, W') -> the same."""
        x = self.norm_in(x)
        for block in self.blocks:
            x = block(x, mask)
        out: Tensor = self.norm_out(x)
        return out


class XText(nn.Module):
    """Words, padding included, behind a token that sums them up."""

    def __init__(self, config: TextConfig, head_dim: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.positions = normal_parameter(config.context, config.width)
        self.class_token = normal_parameter(config.width)
        self.transformer = _Transformer(config, head_dim)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, N) -> (B, 1 + N, W'). With a mask, (B, N) bool, nothing looks where it is False."""
        x = self.embed(tokens) + self.positions[: tokens.shape[1]]
        first = self.class_token.to(x.dtype).expand(len(x), 1, -1)
        seen = None if mask is None else F.pad(mask, (1, 0), value=True)[:, None, None]
        out: Tensor = self.transformer(torch.cat([first, x], dim=1), seen)
        return out


class XVision(nn.Module):
    """Patches, whose mean becomes the embedding."""

    def __init__(self, config: VisionConfig, embed_dim: int, head_dim: int) -> None:
        super().__init__()
        width, size = config.width, config.patch_size
        self.patch = nn.Conv2d(3, width, kernel_size=size, stride=size)
        self.positions = normal_parameter((config.image_size // size) ** 2, width)
        self.transformer = _Transformer(config, head_dim)
        self.pool = nn.Linear(width, width, bias=False)
        self.proj = nn.Linear(width, embed_dim, bias=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> (B, D), not normalised; and (B, patches, W'), row by row."""
        x = self.transformer(self.patches(image))
        return self.proj(self.pool(x.mean(1))), x

    def patches(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, patches, W'), with their places, before the transformer."""
        x: Tensor = self.patch(image).flatten(2).transpose(1, 2)
        return x + self.positions


class XClip(Clip):
    """Both encoders and the learned temperature."""

    config: XClipConfig

    def vision_encoder(self, config: VisionConfig) -> nn.Module:
        """See `XVision`."""
        return XVision(config, self.config.embed_dim, self.config.head_dim)

    def text_encoder(self, config: TextConfig) -> nn.Module:
        """See `XText`."""
        return XText(config, self.config.head_dim)

    def encode_text(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N) tokens and their mask -> (B, D) float32 z_t, and (B, N, W'), 0 on padding."""
        out = self.text(tokens)
        features = self.text_proj(out[:, 0])
        return self._finished(features), out[:, 1:] * mask[..., None]


class XClipStageConfig(ClipStageConfig):
    """x-clip's configuration."""

    kind: Literal["x_clip"] = "x_clip"  # type: ignore[assignment]
    network: XClipConfig


class XClipStage(ClipStage):
    """What CLIP is to a model, of another architecture."""

    Config = XClipStageConfig
    kind = "x_clip"


STAGE = XClipStage
