"""Text encoders: token ids in, one vector a token out."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from .layers import normal_parameter
from .transformer import Transformer, TransformerConfig


class TextConfig(TransformerConfig):
    """Size of a text encoder."""

    vocab_size: int = Field(gt=0)
    context: int = Field(gt=0, description="tokens a caption is padded or cut to (N)")
    learned_padding: bool = Field(True, description="a learned vector for each place of padding")


class TextEncoder(nn.Module):
    """Token and position embeddings, a transformer, a final norm.

    Padding is replaced by a learned vector for each position (GLIDE, section 3), so that a
    caption that is all padding is the learned null caption. Without `learned_padding` it is a
    token like any other.
    """

    def __init__(self, config: TextConfig, causal: bool) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.positions = normal_parameter(config.context, config.width, std=0.1)
        if config.learned_padding:
            self.padding = normal_parameter(config.context, config.width, std=0.1)
        self.transformer = Transformer(config, causal)
        self.norm = nn.LayerNorm(config.width)
        # as large as what the first layers add, or the words drown in them and nothing reads them
        nn.init.normal_(self.embed.weight, std=0.5)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, N) int64 tokens, and bool, True on those that count -> (B, N, W')."""
        x = self.embed(tokens) + self.positions[: tokens.shape[1]]
        if self.config.learned_padding:
            x = torch.where(mask[..., None], x, self.padding)
        out: Tensor = self.norm(self.transformer(x)[0])
        return out
