"""The pre-norm transformer that CLIP, the prior and the decoder's text encoder are made of."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import Config, Layers

KeyValue = tuple[Tensor, Tensor]
"""Keys and values of one layer, each (B, heads, N, head_dim)."""


class TransformerConfig(Config):
    """Size of a transformer."""

    width: int = Field(gt=0)
    depth: Layers = Field(ge=0)
    heads: int = Field(gt=0)
    mlp_width: int = Field(0, ge=0, description="of the hidden layers; 0 is four times the width")
    activation: Literal["gelu", "quick_gelu"] = "gelu"

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

    def forward(
        self, x: Tensor, causal: bool, past: KeyValue | None, mask: Tensor | None = None
    ) -> tuple[Tensor, KeyValue]:
        """(B, N, W') -> (B, N, W') and this layer's keys and values, `past` included.

        `mask` (B, keys) bool says which tokens, past ones included, may be looked at.
        """
        batch, count, width = x.shape
        qkv = self.qkv(x).view(batch, count, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, N, head_dim)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        allowed = None if mask is None else mask[:, None, None]  # (B, 1, 1, keys)
        flag = causal and past is None and mask is None  # what attention can see to itself
        if causal and not flag:
            triangle = causal_mask(count, k.shape[2], x.device)
            allowed = triangle if allowed is None else triangle & allowed
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, is_causal=flag)
        return self.proj(out.transpose(1, 2).reshape(batch, count, width)), (k, v)

    def keys_values(self, x: Tensor) -> KeyValue:
        """(B, N, W') -> what others see of these tokens, where nobody needs what they see."""
        batch, count, width = x.shape
        qkv = self.qkv(x).view(batch, count, 3, self.heads, width // self.heads)
        _, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return k, v


class QuickGelu(nn.Module):
    """x·sigmoid(1.702·x): OpenAI's CLIP was trained with this approximation of a GELU."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.mlp_width or 4 * config.width
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, config.heads)
        self.norm2 = nn.LayerNorm(width)
        activation = nn.GELU() if config.activation == "gelu" else QuickGelu()
        self.mlp = nn.Sequential(nn.Linear(width, hidden), activation, nn.Linear(hidden, width))

    def forward(
        self, x: Tensor, causal: bool, past: KeyValue | None, mask: Tensor | None = None
    ) -> tuple[Tensor, KeyValue]:
        """(B, N, W') -> (B, N, W') and the keys and values."""
        mixed, cache = self.attention(self.norm1(x), causal, past, mask)
        x = x + mixed
        return x + self.mlp(self.norm2(x)), cache


class Transformer(nn.Module):
    """A stack of blocks. A causal one can be run in pieces: a prefix once, the rest many times."""

    def __init__(self, config: TransformerConfig, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
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
        self, x: Tensor, past: list[KeyValue] | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, list[KeyValue]]:
        """Run all blocks.

        Args:
            x: (B, N, W') tokens.
            past: per layer, the keys and values of the tokens before these.
            mask: (B, tokens) bool, which of all tokens so far may be looked at; none is all.

        Returns:
            (B, N, W') and, per layer, the keys and values of all tokens so far.
        """
        caches = []
        for index, block in enumerate(self.blocks):
            x, cache = block(x, self.causal, past[index] if past else None, mask)
            caches.append(cache)
        return x, caches

    def prefix(self, x: Tensor, mask: Tensor | None = None) -> list[KeyValue]:
        """The keys and values of the first tokens (B, N, W') alone: the last block ends with them.

        `mask` as in `forward`.
        """
        caches = list[KeyValue]()
        for block in self.blocks:
            assert isinstance(block, Block)
            if len(caches) == len(self.blocks) - 1:
                return [*caches, block.attention.keys_values(block.norm1(x))]
            x, cache = block(x, self.causal, None, mask)
            caches.append(cache)
        return caches


def causal_mask(queries: int, keys: int, device: torch.device) -> Tensor:
    """(queries, keys) bool: True where query i, the i-th of the last tokens, may look."""
    ones = torch.ones(queries, keys, dtype=torch.bool, device=device)
    return ones.tril(diagonal=keys - queries)
