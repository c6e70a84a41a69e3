"""The autoregressive prior's network: z_i as a sentence of quantised principal components.

Hierarchical Text-Conditional Image Generation with CLIP Latents (arXiv 2204.06125), section 2.2.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from .conditioning import Given
from .layers import normal_parameter, select
from .pca import Pca, Quantiles
from .prior import PriorConfig
from .transformer import KeyValue, Transformer


class ArPriorConfig(PriorConfig):
    """Size of the autoregressive prior."""

    dims: int = Field(gt=0, description="principal components of z_i that are kept")
    buckets: int = Field(64, ge=2, description="values of each of them")
    dot_buckets: int = Field(16, ge=2, description="values of z_i·z_t")

    def build(self) -> nn.Module:
        """The network."""
        return ArPriorNet(self)


class ArPriorNet(nn.Module):
    """Reads [text, z_t, z_i·z_t, c_1, ..., c_k] and says how likely each bucket of c_k+1 is.

    To keep it small, all components share one table and one output layer: as buckets are
    quantiles, a bucket means about the same in each of them. What a number adds beyond its bucket
    and place is its value along a direction of its own.
    """

    def __init__(self, config: ArPriorConfig) -> None:
        super().__init__()
        self.config = config
        width, dims = config.width, config.dims
        self.pca = Pca(config.embed_dim, dims)
        self.values = Quantiles(dims, config.buckets)
        self.dots = Quantiles(1, config.dot_buckets)
        self.text_in = nn.Linear(config.text_width, width)
        self.text_embed_in = nn.Linear(config.embed_dim, width)
        self.dot_in = nn.Embedding(config.dot_buckets, width)
        self.value_in = nn.Embedding(config.buckets, width)
        self.directions = normal_parameter(dims, width, std=0.1)
        self.positions = normal_parameter(config.context + 1 + dims, width, std=0.1)
        self.null_text = normal_parameter(config.context, width, std=0.02)
        self.null_text_embed = normal_parameter(width, std=0.02)
        self.null_dot = normal_parameter(width, std=0.02)
        self.transformer = Transformer(config, causal=True)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, config.buckets)
        for table in (self.dot_in, self.value_in):
            nn.init.normal_(table.weight, std=0.1)

    def fit(self, image_embed: Tensor, text_embed: Tensor) -> None:
        """Components and buckets of (M, D) z_i, and buckets of z_i·z_t with (M, D) z_t."""
        self.pca.fit(image_embed)
        self.values.fit(self.pca.encode(image_embed))
        self.dots.fit(dot(image_embed, text_embed))

    def tokens(self, image_embed: Tensor) -> Tensor:
        """(B, D) -> (B, dims) buckets, int64."""
        return self.values.index(self.pca.encode(image_embed))

    def embed(self, tokens: Tensor) -> Tensor:
        """(B, k) buckets of the first k components -> (B, D) of unit norm."""
        return self.pca.decode(self.values.value(tokens))

    def dot_tokens(self, image_embed: Tensor, text_embed: Tensor) -> Tensor:
        """(B,) bucket of z_i·z_t, int64."""
        return self.dots.index(dot(image_embed, text_embed))[:, 0]

    def top_half(self, uniform: Tensor) -> Tensor:
        """(B,) on [0, 1) -> (B,) buckets from the top half of the z_i·z_t seen in training.

        Buckets are quantiles, so each is as likely as the next.
        """
        half = self.config.dot_buckets // 2
        return self.config.dot_buckets - half + (uniform * half).long().clamp(max=half - 1)

    def forward(self, given: Given, dot_token: Tensor, tokens: Tensor) -> Tensor:
        """Logits of every component given the true ones before it.

        The condition, (B,) bucket of z_i·z_t and (B, dims) buckets -> (B, dims, buckets).
        """
        sequence = [self._prefix(given, dot_token), self._components(tokens[:, :-1], 0)]
        h, _ = self.transformer(torch.cat(sequence, dim=1))
        out: Tensor = self.out(self.norm(h[:, -self.config.dims :]))
        return out

    def begin(self, given: Given, dot_token: Tensor) -> tuple[Tensor, list[KeyValue]]:
        """(B, buckets) logits of the first component, and the keys and values so far."""
        return self._last(*self.transformer(self._prefix(given, dot_token)))

    def step(
        self, token: Tensor, number: int, past: list[KeyValue]
    ) -> tuple[Tensor, list[KeyValue]]:
        """Logits of component `number` + 1 once (B,) `token` is known to be that of `number`."""
        return self._last(*self.transformer(self._components(token[:, None], number), past))

    def _last(self, h: Tensor, caches: list[KeyValue]) -> tuple[Tensor, list[KeyValue]]:
        return self.out(self.norm(h[:, -1])), caches

    def _prefix(self, given: Given, dot_token: Tensor) -> Tensor:
        """(B, N + 2, W'): text (padding is null), z_t and z_i·z_t; all null without the text."""
        dtype, keep = self.null_dot.dtype, given.get("keep_text")
        text = self.text_in(given["text_encodings"].to(dtype))  # (B, N, W')
        text = torch.where(given["text_mask"][..., None], text, self.null_text.to(text.dtype))
        text = select(keep, text, self.null_text)
        z_t = select(keep, self.text_embed_in(given["text_embed"].to(dtype)), self.null_text_embed)
        likeness = select(keep, self.dot_in(dot_token), self.null_dot)
        prefix = torch.cat([text, z_t[:, None], likeness[:, None]], dim=1)
        return prefix + self.positions[: prefix.shape[1]]

    def _components(self, tokens: Tensor, first: int) -> Tensor:
        """(B, k) buckets of the components from `first` on -> (B, k, W')."""
        after = first + tokens.shape[1]
        value = self.values.value(tokens, first).to(self.directions.dtype)
        place = self.positions[self.config.context + 2 :][first:after]
        along = value[..., None] * self.directions[first:after]
        out: Tensor = along + self.value_in(tokens) + place
        return out


def dot(image_embed: Tensor, text_embed: Tensor) -> Tensor:
    """(B, 1): z_i·z_t."""
    return (image_embed.float() * text_embed.float()).sum(-1, keepdim=True)
