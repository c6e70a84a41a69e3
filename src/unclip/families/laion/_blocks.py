"""What the U-Net of LAION's models is made of. See `_unet.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...nn.layers import TimestepMlp, normal_parameter
from ...nn.memory import recomputed
from ...nn.transformer import KeyValue
from ._layers import COSINE_SCALE, gain_norm, sinusoid

Growth = Literal["shuffle", "nearest", "transpose"]

CROSS_HEADS, CROSS_HEAD_DIM = 8, 64
"""Of cross attention, whatever the U-Net's other attention has."""


@dataclass(frozen=True)
class Signal:
    """What every block of one forward reads beside the picture.

    `emb` (B, E) is the timestep's vector, z_i in it, after a SiLU. `times` and `times_middle`
    (B, T, context_dim) are the timestep's context tokens for the outer and the middle blocks,
    `context` the keys and values of the other tokens, for each cross attention in order.
    """

    emb: Tensor
    times: Tensor
    times_middle: Tensor
    context: Iterator[KeyValue]


class CrossEmbed(nn.Module):
    """Convolutions of several sizes side by side (CrossFormer, arXiv 2108.00154).

    The smallest gives half the channels, the next a quarter, the last what is left.
    """

    def __init__(self, cin: int, cout: int, kernels: tuple[int, ...], stride: int) -> None:
        super().__init__()
        sizes = sorted(kernels)
        channels = [cout // 2**place for place in range(1, len(sizes))]
        channels.append(cout - sum(channels))
        self.convs = nn.ModuleList(
            nn.Conv2d(cin, out, size, stride, (size - stride) // 2)
            for size, out in zip(sizes, channels, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, cin, H, W) -> (B, cout, H/stride, W/stride)."""
        return torch.cat([conv(x) for conv in self.convs], dim=1)


class Upsample(nn.Module):
    """Twice the side.

    `shuffle` unfolds channels after a SiLU, `nearest` repeats pixels before a convolution,
    `transpose` is a transposed convolution.
    """

    def __init__(self, cin: int, cout: int, how: Growth) -> None:
        super().__init__()
        self.how = how
        self.conv: nn.Module
        if how == "transpose":
            self.conv = nn.ConvTranspose2d(cin, cout, 4, 2, 1)
        elif how == "nearest":
            self.conv = nn.Conv2d(cin, cout, 3, padding=1)
        else:
            self.conv = nn.Conv2d(cin, 4 * cout, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, cin, H, W) -> (B, cout, 2·H, 2·W)."""
        if self.how == "nearest":
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        out: Tensor = self.conv(x)
        return F.pixel_shuffle(F.silu(out), 2) if self.how == "shuffle" else out


class SineMlp(TimestepMlp):
    """Sines and cosines of a number, then two linear layers."""

    def hidden(self, t: Tensor) -> Tensor:
        """(B,) -> (B, width), after the first layer."""
        return F.gelu(self.fc1(sinusoid(t, self.features).to(self.fc1.weight.dtype)))

    def forward(self, t: Tensor) -> Tensor:
        """(B,) -> (B, width)."""
        out: Tensor = self.fc2(self.hidden(t))
        return out


class CrossAttention(nn.Module):
    """Pixels look at the context tokens and at a learned one that is always there."""

    def __init__(self, width: int, context_dim: int, middle: bool, cosine: bool) -> None:
        super().__init__()
        self.middle = middle
        self.cosine = cosine
        self.scale = COSINE_SCALE if cosine else CROSS_HEAD_DIM**-0.5
        inner = CROSS_HEADS * CROSS_HEAD_DIM
        self.norm = gain_norm(width)
        self.q = nn.Linear(width, inner, bias=False)
        self.kv = nn.Linear(context_dim, 2 * inner, bias=False)
        self.null = normal_parameter(2, CROSS_HEAD_DIM)
        self.proj = nn.Linear(inner, width, bias=False)
        self.norm_out = gain_norm(width)

    def start(self, batch: int, context: Tensor | None) -> KeyValue:
        """Of the learned token and of (B, L, context_dim): (B, heads, 1 + L, head_dim) each."""
        null = self.null[:, None, None, None].expand(-1, batch, CROSS_HEADS, 1, -1)
        k, v = self._unit(null[0]), null[1]
        if context is None:
            return k, v
        more_k, more_v = self.keys_values(context)
        return torch.cat([k, more_k], dim=2), torch.cat([v, more_v], dim=2)

    def keys_values(self, context: Tensor) -> KeyValue:
        """(B, L, context_dim) -> (B, heads, L, head_dim) each."""
        k, v = self.kv(context).chunk(2, dim=-1)
        return self._unit(_heads(k)), _heads(v)

    def forward(self, x: Tensor, signal: Signal) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), added to what it reads."""
        pixels = _pixels(x)
        start_k, start_v = next(signal.context)
        k, v = self.keys_values(signal.times_middle if self.middle else signal.times)
        seen = torch.cat([start_k, k], dim=2), torch.cat([start_v, v], dim=2)
        out = self.norm_out(recomputed(self._mixed, pixels, *seen))  # (B, H·W, C)
        return x + _picture(out, x)

    def _mixed(self, pixels: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, H·W, C) and (B, heads, L, head_dim) keys and values -> (B, H·W, C)."""
        q = self._unit(_heads(self.q(self.norm(pixels))))
        mixed = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out

    def _unit(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1) if self.cosine else x


class LinearAttention(nn.Module):
    """Pixels look at each other in time linear in their number (arXiv 1812.01243).

    `tamed` divides by the number of pixels and makes the values unit vectors.
    """

    def __init__(self, width: int, heads: int, head_dim: int, tamed: bool) -> None:
        super().__init__()
        self.heads = heads
        self.scale = head_dim**-0.5
        self.tamed = tamed
        self.norm = gain_norm(width)
        self.qkv = nn.Linear(width, 3 * heads * head_dim, bias=False)
        self.proj = nn.Linear(heads * head_dim, width, bias=False)
        self.norm_out = gain_norm(width)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, H·W, C) -> (B, H·W, C)."""
        count = pixels.shape[1]
        qkv = self.qkv(self.norm(pixels)).chunk(3, dim=-1)
        q, k, v = (
            part.reshape(*part.shape[:2], self.heads, -1) for part in qkv
        )  # (B, H·W, heads, d)
        q, k = q.softmax(dim=-1), k.softmax(dim=1)
        if self.tamed:
            v = F.normalize(v, dim=-1) / count
        summary = k.permute(0, 2, 3, 1) @ v.transpose(1, 2)  # (B, heads, d, d)
        mixed = q.transpose(1, 2) @ (summary * self.scale)  # (B, heads, H·W, d)
        mixed = F.gelu(mixed.transpose(1, 2).flatten(2))
        out: Tensor = self.norm_out(self.proj(mixed))
        return out


class OverPixels(nn.Module):
    """Attention over a sequence, put to a picture and added to it."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        out = self.attention(_pixels(x))
        out = out[0] if isinstance(out, tuple) else out
        return x + _picture(out, x)


class Half(nn.Module):
    """Convolution, norm, SiLU."""

    def __init__(self, cin: int, cout: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 3, padding=1)
        self.norm = nn.GroupNorm(groups, cout)

    def after(self, h: Tensor, emb: Tensor | None = None) -> Tensor:
        """What comes after the convolution; scale and shift are (B, 2·cout, 1, 1)."""
        h = self.norm(h)
        if emb is not None:
            scale, shift = emb.chunk(2, dim=1)
            h = h * (scale + 1) + shift
        return F.silu(h)


class ResBlock(nn.Module):
    """Two halves, the timestep in the first, cross attention between them."""

    def __init__(
        self, cin: int, cout: int, emb: int, groups: int, cross: CrossAttention | None = None
    ) -> None:
        super().__init__()
        self.emb = nn.Linear(emb, 2 * cout)
        self.first = Half(cin, cout, groups)
        self.cross = cross
        self.second = Half(cout, cout, groups)
        self.skip = nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x: Tensor, signal: Signal) -> Tensor:
        """(B, cin, H, W) -> (B, cout, H, W)."""
        first, second = self.first, self.second
        h, emb = first.conv(x), self.emb(signal.emb)[:, :, None, None]
        if self.cross is None:
            h = recomputed(lambda h, emb: second.conv(first.after(h, emb)), h, emb)
        else:
            h = second.conv(self.cross(recomputed(first.after, h, emb), signal))
        out: Tensor = recomputed(second.after, h) + self.skip(x)
        return out


def _heads(x: Tensor) -> Tensor:
    """(B, L, heads·d) -> (B, heads, L, d)."""
    return x.reshape(*x.shape[:2], CROSS_HEADS, -1).transpose(1, 2)


def _pixels(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H·W, C); no copy where x is laid out channels_last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _picture(pixels: Tensor, like: Tensor) -> Tensor:
    """(B, H·W, C) -> (B, C, H, W), laid out channels_last."""
    return pixels.view(len(like), *like.shape[2:], -1).permute(0, 3, 1, 2)
