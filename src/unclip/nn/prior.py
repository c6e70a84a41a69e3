"""The diffusion prior's network: a causal transformer over text, z_t, t, noised z_i and a query.

Hierarchical Text-Conditional Image Generation with CLIP Latents (arXiv 2204.06125), section 2.2.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..types import Cond
from .layers import TimestepMlp, select
from .transformer import KeyValue, Transformer, TransformerConfig


class PriorConfig(TransformerConfig):
    """Size of the prior."""

    embed_dim: int = Field(gt=0, description="width of CLIP's space (D)")
    text_width: int = Field(gt=0, description="width of the text encodings")
    context: int = Field(gt=0, description="text tokens (N)")


class PriorNet(nn.Module):
    """Predicts from the last token of [text, z_t, t, z_i noised, query].

    The mask is causal, so the keys and values of text and z_t depend on nothing that changes
    from step to step: `encode` computes them once and `forward` runs three tokens.
    """

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.text_in = nn.Linear(config.text_width, width)
        self.text_embed_in = nn.Linear(config.embed_dim, width)
        self.image_embed_in = nn.Linear(config.embed_dim, width)
        self.time = TimestepMlp(width, width)
        self.query = nn.Parameter(torch.randn(width) * 0.02)
        self.positions = nn.Parameter(torch.randn(config.context + 4, width) * 0.01)
        self.null_text = nn.Parameter(torch.randn(config.context, width) * 0.02)
        self.null_text_embed = nn.Parameter(torch.randn(width) * 0.02)
        self.transformer = Transformer(config, causal=True)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, config.embed_dim)

    def encode(self, cond: Cond) -> list[KeyValue]:
        """Keys and values of the tokens that do not change: text (padding is null) and z_t."""
        assert cond.text_encodings is not None
        assert cond.text_mask is not None and cond.text_embed is not None
        dtype = self.query.dtype
        text = self.text_in(cond.text_encodings.to(dtype))  # (B, N, W')
        text = torch.where(cond.text_mask[..., None], text, self.null_text.to(text.dtype))
        text = select(cond.keep_text, text, self.null_text)
        z_t = self.text_embed_in(cond.text_embed.to(dtype))
        z_t = select(cond.keep_text, z_t, self.null_text_embed)
        prefix = torch.cat([text, z_t[:, None]], dim=1) + self.positions[:-3]
        caches: list[KeyValue] = self.transformer(prefix)[1]
        return caches

    def forward(self, x: Tensor, t: Tensor, encoded: list[KeyValue]) -> Tensor:
        """(B, D) noised embedding and (B,) timestep -> (B, D)."""
        tokens = torch.stack(
            [self.time(t), self.image_embed_in(x), self.query.expand(len(x), -1)], dim=1
        )  # (B, 3, W')
        h, _ = self.transformer(tokens + self.positions[-3:], encoded)
        out: Tensor = self.out(self.norm(h[:, -1]))
        return out
