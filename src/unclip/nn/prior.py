"""The diffusion prior's network: a causal transformer over text, z_t, t, noised z_i and a query.

Hierarchical Text-Conditional Image Generation with CLIP Latents (arXiv 2204.06125), section 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from .conditioning import Given
from .layers import TimestepMlp, normal_parameter, select, trimmed
from .memory import distinct
from .transformer import KeyValue, Transformer, TransformerConfig


class PriorConfig(TransformerConfig):
    """Size of the prior."""

    embed_dim: int = Field(gt=0, description="width of CLIP's space (D)")
    text_width: int = Field(gt=0, description="width of the text encodings")
    context: int = Field(gt=0, description="text tokens (N)")
    padding: Literal["null", "masked"] = Field(
        "null", description="a learned vector stands for padding, or nobody looks at it"
    )
    whiten: bool = Field(False, description="it knows z_i's mean and deviation, number by number")

    @property
    def reads(self) -> frozenset[str]:
        """Fields of a condition that it needs."""
        return frozenset({"text_mask", "text_embed", "text_encodings"})

    def build(self) -> nn.Module:
        """The network."""
        return PriorNet(self)


@dataclass(frozen=True)
class Prefix:
    """What a prior makes of its condition, once a prompt.

    The keys and values of each layer, and which of the prefix' and the three further tokens may
    be looked at, (B, tokens) bool or None for all.
    """

    past: list[KeyValue]
    mask: Tensor | None = None


class PriorNet(nn.Module):
    """Predicts from the last token of [text, z_t, t, z_i noised, query].

    The mask is causal, so the keys and values of text and z_t depend on nothing that changes
    from step to step: `encode` computes them once and `forward` runs three tokens.
    """

    mean: Tensor  # (D,) of z_i, where it is whitened
    std: Tensor

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.text_in = nn.Linear(config.text_width, width)
        self.text_embed_in = nn.Linear(config.embed_dim, width)
        self.image_embed_in = nn.Linear(config.embed_dim, width)
        self.time = TimestepMlp(width, width)
        self.query = normal_parameter(width, std=0.02)
        self.positions = normal_parameter(config.context + 4, width, std=0.01)
        if config.padding == "null":
            self.null_text = normal_parameter(config.context, width, std=0.02)
            self.null_text_embed = normal_parameter(width, std=0.02)
        if config.whiten:
            self.register_buffer("mean", torch.zeros(config.embed_dim))
            self.register_buffer("std", torch.ones(config.embed_dim))
        self.transformer = Transformer(config, causal=True)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, config.embed_dim)

    def encode(self, given: Given) -> Prefix:
        """Keys and values of the tokens that do not change: text and z_t."""
        dtype, masked = self.query.dtype, self.config.padding == "masked"
        once = None if masked or not self.training else distinct(given.get("keep_text"))
        if once is not None:
            given = {name: one[once[0]] for name, one in given.items()}
        mask = trimmed(given["text_mask"]) if masked else given["text_mask"]
        text = self.text_in(given["text_encodings"][:, : mask.shape[1]].to(dtype))  # (B, N, W')
        z_t = self.text_embed_in(given["text_embed"].to(dtype))
        if not masked:
            keep = given.get("keep_text")
            text = torch.where(mask[..., None], text, self.null_text.to(text.dtype))
            text = select(keep, text, self.null_text)
            z_t = select(keep, z_t, self.null_text_embed)
        text = text + self.positions[: mask.shape[1]]
        prefix = torch.cat([text, (z_t + self.positions[-4])[:, None]], dim=1)
        if not masked or mask.all():
            past = self.transformer.prefix(prefix)
            if once is not None:
                past = [(k.index_select(0, once[1]), v.index_select(0, once[1])) for k, v in past]
            return Prefix(past)
        seen = F.pad(mask, (0, 4), value=True)  # z_t, the timestep, z_i noised, the query
        return Prefix(self.transformer.prefix(prefix, seen[:, :-3]), seen)

    def forward(self, x: Tensor, t: Tensor, encoded: Prefix) -> Tensor:
        """(B, D) noised embedding and (B,) timestep -> (B, D)."""
        tokens = torch.stack(
            [self.time(t), self.image_embed_in(x), self.query.expand(len(x), -1)], dim=1
        )  # (B, 3, W')
        h, _ = self.transformer(tokens + self.positions[-3:], encoded.past, encoded.mask)
        out: Tensor = self.out(self.norm(h[:, -1]))
        return out
