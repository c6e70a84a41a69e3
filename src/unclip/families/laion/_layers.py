"""What the prior and the U-Net of LAION's models share.

They are the networks of DALLE2-pytorch, an architecture of its own. Its weights come in dialects,
called by a version that makes them: one and the same layer computes another function in each, so
that a network of the wrong dialect makes noise of weights that fit it.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...nn.layers import normal_parameter
from ...nn.transformer import KeyValue

Dialect = Literal["0.15.4", "1.1.0", "1.15.6"]

COSINE_SCALE = 16.0
"""What the cosine of a query and a key is multiplied by before the softmax."""


def gain_norm(width: int) -> nn.LayerNorm:
    """A layer norm without bias."""
    return nn.LayerNorm(width, bias=False)


def sinusoid(t: Tensor, width: int) -> Tensor:
    """(B,) timesteps -> (B, width) float32: sines, then cosines.

    The lowest frequency is 1/10000 itself, whereas in Attention Is All You Need it is one step
    above.
    """
    half = width // 2
    place = torch.arange(half, device=t.device, dtype=torch.float32)
    angles = t.float()[:, None] * torch.exp(place * -(math.log(10_000) / (half - 1)))
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class SharedKeyAttention(nn.Module):
    """Many heads of queries look at one head of keys and values (arXiv 1911.02150).

    Before the tokens' own stands a learned key and value. The output is normed again. Without
    `cosine` the dot product is multiplied by `scale`; with it the cosine by COSINE_SCALE.
    """

    def __init__(self, width: int, heads: int, head_dim: int, scale: float, cosine: bool) -> None:
        super().__init__()
        self.heads = heads
        self.scale = COSINE_SCALE if cosine else scale
        self.cosine = cosine
        self.norm = gain_norm(width)
        self.q = nn.Linear(width, heads * head_dim, bias=False)
        self.kv = nn.Linear(width, 2 * head_dim, bias=False)
        self.null = normal_parameter(2, head_dim)
        self.proj = nn.Linear(heads * head_dim, width, bias=False)
        self.norm_out = gain_norm(width)

    def forward(
        self,
        x: Tensor,
        past: KeyValue | None = None,
        bias: Tensor | None = None,
        angles: Tensor | None = None,
    ) -> tuple[Tensor, KeyValue]:
        """Attend.

        Args:
            x: (B, N, W').
            past: keys and values of the tokens before these, (B, K, head_dim) each, the learned
                one included. None where these are the first.
            bias: ((B, 1,) N·heads, K + N) is added before the softmax; K counts the learned one.
            angles: (N, R/2) by which the first R numbers of queries and keys are turned.

        Returns:
            (B, N, W'), and the keys and values so far.
        """
        batch, count, _ = x.shape
        x = self.norm(x)
        q = self.q(x).view(batch, count, self.heads, -1)  # (B, N, heads, head_dim)
        if angles is not None:
            q = turned(q, angles[:, None])
        if self.cosine:
            q = F.normalize(q, dim=-1)
        k, v = self._keys_values(x, past, angles)
        # as the keys are shared, the heads are only more queries
        mixed = F.scaled_dot_product_attention(
            q.flatten(1, 2)[:, None],
            k[:, None],
            v[:, None],
            attn_mask=None if bias is None else bias.to(q.dtype),
            scale=self.scale,
        )
        return self.norm_out(self.proj(mixed.reshape(batch, count, -1))), (k, v)

    def keys_values(self, x: Tensor, angles: Tensor | None = None) -> KeyValue:
        """(B, N, W') -> what others see of the first tokens, where nobody needs what they see."""
        return self._keys_values(self.norm(x), None, angles)

    def _keys_values(self, x: Tensor, past: KeyValue | None, angles: Tensor | None) -> KeyValue:
        """Of normed tokens, those before them included: (B, K + N, head_dim) each."""
        k, v = self.kv(x).chunk(2, dim=-1)  # (B, N, head_dim) each
        if angles is not None:
            k = turned(k, angles)
        if self.cosine:
            k = F.normalize(k, dim=-1)
        start_k, start_v = self._start(len(x)) if past is None else past
        return torch.cat([start_k, k], dim=1), torch.cat([start_v, v], dim=1)

    def _start(self, batch: int) -> KeyValue:
        """The learned key and value, (B, 1, head_dim) each."""
        k, v = self.null.unbind(0)
        k = F.normalize(k, dim=-1) if self.cosine else k
        return k.expand(batch, 1, -1), v.expand(batch, 1, -1)


def turned(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary positions (arXiv 2104.09864): neighbouring numbers are turned as pairs.

    Args:
        x: (..., head_dim).
        angles: (..., R/2), R at most head_dim; what is beyond R stays as it is.
    """
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    size = 2 * angles.shape[-1]
    a, b = x[..., 0:size:2], x[..., 1:size:2]
    pairs = torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1)
    return torch.cat([pairs.flatten(-2), x[..., size:]], dim=-1)


def rotary_angles(positions: Tensor, size: int) -> Tensor:
    """(N,) positions -> (N, size/2) float32."""
    even = torch.arange(0, size, 2, dtype=torch.float32, device=positions.device)[: size // 2]
    return positions.float()[:, None] / 10_000 ** (even / size)
