"""What U-Nets are made of: residual blocks, attention, and the levels in which they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from .layers import Dropout, conv_enlarged, silu_, zero
from .memory import recomputed


@dataclass(frozen=True)
class Place:
    """Where a layer of a U-Net stands: its name, its level and number there, its channels."""

    name: str
    level: int
    number: int
    cin: int
    cout: int
    resample: Literal["", "down", "up"] = ""


def places(first: int, widths: Sequence[int], depth: int, joins: bool = True) -> Iterator[Place]:
    """The layers of a U-Net in the order they run: levels down, a middle of two, levels up.

    Args:
        first: channels that come in.
        widths: channels of each level, large to small.
        depth: layers a level; the way up has one more.
        joins: whether a skip connection is joined to each layer on the way up.
    """
    skips, before, last, count = [first], first, len(widths) - 1, 0
    for level, width in enumerate(widths):
        numbers = range(-1 if level else 0, depth)  # -1 halves the side, between two levels
        for number in numbers:
            cout = before if number < 0 else width
            how: Literal["", "down"] = "down" if number < 0 else ""
            yield Place(f"down.{count}", level, number, before, cout, how)
            before, count = cout, count + 1
            skips.append(before)
    for number in (0, 1):
        yield Place(f"middle.{number}", last, number, before, before)
    count = 0
    for level in range(last, -1, -1):
        for number in range(depth + 1):
            cin = before + (skips.pop() if joins else 0)
            yield Place(f"up.{count}", level, number, cin, widths[level])
            before, count = widths[level], count + 1
        if level:
            yield Place(f"up.{count}", level, -1, before, before, "up")
            count += 1


class ResBlock(nn.Module):
    """Norm, SiLU, convolution twice; the timestep enters at the second norm.

    What enters is the SiLU of the timestep's embedding: the same for all blocks, it is not made
    here.
    """

    def __init__(
        self,
        cin: int,
        cout: int,
        emb: int,
        norm: Callable[[int], nn.Module],
        *,
        scale_shift: bool = False,
        dropout: float = 0.0,
        resample: str = "",
    ) -> None:
        super().__init__()
        self.resample = resample
        self.norm1 = norm(cin)
        self.conv1 = nn.Conv2d(cin, cout, 3, padding=1)
        self.scale_shift = scale_shift
        self.emb = nn.Linear(emb, 2 * cout if scale_shift else cout)
        self.norm2 = norm(cout)
        self.dropout = Dropout(dropout)
        self.conv2 = zero(nn.Conv2d(cout, cout, 3, padding=1))
        self.skip = nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """(B, cin, H, W), (B, E) -> (B, cout, H', W')."""
        h = recomputed(self._first, x)
        emb = self.emb(emb)[..., None, None]
        if self.training and self.dropout.p:
            h = self.conv2(self.dropout(recomputed(self._between, h, emb)))
        else:
            h = recomputed(lambda h, emb: self.conv2(self._between(h, emb)), h, emb)
        if self.resample == "up":
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        out: Tensor = h.add_(self.skip(self._down(x)))
        return out

    def _first(self, x: Tensor) -> Tensor:
        h = silu_(self.norm1(x))
        return conv_enlarged(h, self.conv1) if self.resample == "up" else self.conv1(self._down(h))

    def _between(self, h: Tensor, emb: Tensor) -> Tensor:
        """What stands between the two convolutions."""
        if self.scale_shift:
            scale, shift = emb.chunk(2, dim=1)
            return silu_(torch.addcmul(shift, self.norm2(h), 1 + scale))
        return silu_(self.norm2(h + emb))

    def _down(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2) if self.resample == "down" else x


class AttentionBlock(nn.Module):
    """Pixels look at the context tokens and at each other, in one softmax."""

    def __init__(
        self, channels: int, head_dim: int, context_dim: int, norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.heads = max(1, channels // head_dim)
        if channels % self.heads:
            raise UsageError(f"{channels} channels cannot be split into {self.heads} heads")
        self.norm = norm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.context = nn.Linear(context_dim, 2 * channels) if context_dim else None
        self.proj = zero(nn.Linear(channels, channels))

    def keys_values(self, context: Tensor) -> Tensor:
        """(B, L, context_dim) -> (B, L, 2·C), the part that does not change from step to step."""
        assert self.context is not None
        out: Tensor = self.context(context)
        return out

    def forward(self, x: Tensor, context: Iterator[Tensor], mask: Tensor | None = None) -> Tensor:
        """(B, C, H, W), the next keys and values, if any -> (B, C, H, W).

        `mask` (B, L) says which of the context counts.
        """
        pixels = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)  # (B, H·W, C)
        batch, channels, height, width = x.shape
        q, kv = self.qkv(pixels).split([channels, 2 * channels], dim=2)
        beside = next(context, None)
        if beside is not None:
            kv = torch.cat([beside, kv], dim=1)  # (B, L + H·W, 2·C)
        q = q.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, H·W, head_dim)
        k, v = kv.unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        if mask is not None:  # every pixel counts
            mask = F.pad(mask, (0, k.shape[2] - mask.shape[1]), value=True)[:, None, None]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))  # (B, H·W, C)
        return out.view(batch, height, width, channels).permute(0, 3, 1, 2).add_(x)


class Layer(nn.Module):
    """A residual block and, where the configuration wants it, attention."""

    def __init__(self, block: ResBlock, attention: nn.Module | None = None) -> None:
        super().__init__()
        self.block = block
        self.attention = attention

    @property
    def enlarges(self) -> bool:
        """Whether it doubles the side."""
        return self.block.resample == "up"

    def forward(
        self, x: Tensor, emb: Tensor, context: Iterator[Any], mask: Tensor | None = None
    ) -> Tensor:
        """(B, C, H, W), (B, E), what attention looks at and its mask -> (B, C', H', W')."""
        out: Tensor = self.block(x, emb)
        return out if self.attention is None else self.attention(out, context, mask)


class Levels(nn.Module):
    """The levels of a U-Net, with skip connections between the way down and the way up."""

    def add_levels(self, every: Iterator[Place], layer: Callable[[Place], nn.Module]) -> None:
        """Make the layers of all places, in order."""
        self.down, self.middle, self.up = (nn.ModuleList() for _ in range(3))
        for place in every:
            getattr(self, place.name.partition(".")[0]).append(layer(place))

    def run(
        self, h: Tensor, emb: Tensor, context: Iterator[Any], mask: Tensor | None = None
    ) -> Tensor:
        """(B, C, H, W) after the first convolution -> (B, C', H, W) before the last norm."""
        skips, h = self.descend(h, emb, context, mask)
        for layer in self.up:
            h = h if layer.enlarges else torch.cat([h, skips.pop()], dim=1)
            h = layer(h, emb, context, mask)
        return h

    def descend(
        self, h: Tensor, emb: Tensor, context: Iterator[Any], mask: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """The way down: what each layer gives, `h` first, and what the middle makes of the last."""
        skips = [h]
        for layer in self.down:
            h = layer(h, emb, context, mask)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, emb, context, mask)
        return skips, h
