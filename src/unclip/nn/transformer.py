"""The pre-norm transformer that CLIP, the prior and the decoder's text encoder are made of."""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import Config

KeyValue = tuple[Tensor, Tensor]
"""Keys and values of one layer, each (B, heads, N, head_dim)."""


class TransformerConfig(Config):
    """Size of a transformer."""

    width: int = Field(gt=0)
    depth: int = Field(ge=0)
    heads: int = Field(gt=0)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> TransformerConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class Attention(nn.Module):
    """Multi-head self-attention, optionally causal, optionally continuing cached tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, causal: bool, past: KeyValue | None) -> tuple[Tensor, KeyValue]:
        """(B, N, W') -> (B, N, W') and this layer's keys and values, `past` included."""
        batch, count, width = x.shape
        qkv = self.qkv(x).view(batch, count, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, N, head_dim)
        mask = None
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
            mask = causal_mask(count, k.shape[2], x.device) if causal else None
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal and past is None
        )
        return self.proj(out.transpose(1, 2).reshape(batch, count, width)), (k, v)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), with a GELU and four times the width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, causal: bool, past: KeyValue | None) -> tuple[Tensor, KeyValue]:
        """(B, N, W') -> (B, N, W') and the keys and values."""
        mixed, cache = self.attention(self.norm1(x), causal, past)
        x = x + mixed
        return x + self.mlp(self.norm2(x)), cache


class Transformer(nn.Module):
    """A stack of blocks. A causal one can be run in pieces: a prefix once, the rest many times."""

    def __init__(self, config: TransformerConfig, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self._init(config)

    def _init(self, config: TransformerConfig) -> None:
        """Normal weights, residual outputs scaled down by depth (GPT-2, section 2.3)."""
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                continue
            residual = name.endswith(("proj.weight", "mlp.2.weight"))
            scale = (2 * max(config.depth, 1)) ** -0.5 if residual else 1.0
            nn.init.normal_(parameter, std=config.width**-0.5 * scale)
        for name, parameter in self.named_parameters():
            if name.endswith(("qkv.bias", "proj.bias", "mlp.0.bias", "mlp.2.bias")):
                nn.init.zeros_(parameter)

    def forward(
        self, x: Tensor, past: list[KeyValue] | None = None
    ) -> tuple[Tensor, list[KeyValue]]:
        """Run all blocks.

        Args:
            x: (B, N, W') tokens.
            past: per layer, the keys and values of the tokens before these.

        Returns:
            (B, N, W') and, per layer, the keys and values of all tokens so far.
        """
        caches = []
        for index, block in enumerate(self.blocks):
            x, cache = block(x, self.causal, past[index] if past else None)
            caches.append(cache)
        return x, caches


def causal_mask(queries: int, keys: int, device: torch.device) -> Tensor:
    """(queries, keys) bool: True where query i, the i-th of the last tokens, may look."""
    ones = torch.ones(queries, keys, dtype=torch.bool, device=device)
    return ones.tril(diagonal=keys - queries)
