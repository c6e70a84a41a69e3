"""A prior without diffusion: one pass of a small transformer, after ECLIPSE (arXiv 2312.04655)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .conditioning import Given
from .layers import normal_parameter
from .prior import PriorConfig
from .transformer import Transformer


class EclipsePriorConfig(PriorConfig):
    """Size of the prior."""

    def build(self) -> nn.Module:
        """The network."""
        return EclipsePriorNet(self)


class EclipsePriorNet(nn.Module):
    """Predicts from the last token of [text, z_t, query]; every token sees every other.

    The paper feeds noise where the query stands, and finds that it changes next to nothing
    (section 3.2); without it a text has one embedding, whatever the seed.
    """

    def __init__(self, config: EclipsePriorConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.text_in = nn.Linear(config.text_width, width)
        self.text_embed_in = nn.Linear(config.embed_dim, width)
        self.query = normal_parameter(width, std=0.02)
        self.positions = normal_parameter(config.context + 2, width, std=0.1)
        self.null_text = normal_parameter(config.context, width, std=0.02)
        self.transformer = Transformer(config, causal=False)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, config.embed_dim)

    def forward(self, given: Given) -> Tensor:
        """text_encodings, text_mask and text_embed -> (B, D), of no particular norm."""
        dtype = self.query.dtype
        text = self.text_in(given["text_encodings"].to(dtype))  # (B, N, W')
        text = torch.where(given["text_mask"][..., None], text, self.null_text.to(text.dtype))
        z_t = self.text_embed_in(given["text_embed"].to(dtype))[:, None]
        query = self.query.to(text.dtype).expand_as(z_t)
        h, _ = self.transformer(torch.cat([text, z_t, query], dim=1) + self.positions)
        out: Tensor = self.out(self.norm(h[:, -1]))
        return out
