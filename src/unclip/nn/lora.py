"""Layers that learn a low-rank change of their weight, which itself stays as it is.

LoRA: Low-Rank Adaptation of Large Language Models (arXiv 2106.09685, section 4.1); of convolutions
as LoCon has it: r kernels of the layer's size, then a convolution of one pixel.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

N = TypeVar("N", bound=nn.Module)


class LowRank(nn.Module):
    """What both kinds of layers share: W + scale·up·down, of which only up and down learn.

    `base` is W. `weight` is the sum, for code that looks at it.
    """

    base: nn.Parameter
    lora_down: nn.Parameter  # (r, in) or (r, in, height, width)
    lora_up: nn.Parameter  # (out, r) or (out, r, 1, 1)
    alpha: float

    @property
    def scale(self) -> float:
        """alpha / r."""
        return self.alpha / len(self.lora_down)

    @property
    def weight(self) -> Tensor:
        """The layer's weight with its change."""
        change = self.lora_up.flatten(1) @ self.lora_down.flatten(1)
        return self.base + self.scale * change.view(self.base.shape)


class LowRankLinear(LowRank, nn.Linear):  # type: ignore[override]  # `weight` is made
    """A linear layer with a low-rank change."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        change = F.linear(F.linear(x, self.lora_down), self.lora_up)
        return F.linear(x, self.base, self.bias) + self.scale * change


class LowRankConv2d(LowRank, nn.Conv2d):  # type: ignore[override]
    """A convolution with a low-rank change."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H', W')."""
        seen = self._conv_forward(x, self.lora_down, None)  # (B, r, H', W')
        change = F.conv2d(seen, self.lora_up)
        out: Tensor = self._conv_forward(x, self.base, self.bias) + self.scale * change
        return out


_KINDS: dict[type[nn.Module], type[LowRank]] = {nn.Linear: LowRankLinear, nn.Conv2d: LowRankConv2d}


def can_adapt(layer: nn.Module) -> bool:
    """Whether a layer is one that learns like this: linear, or a convolution of one group."""
    return type(layer) in _KINDS and getattr(layer, "groups", 1) == 1


def adapt(net: nn.Module, layers: Iterable[nn.Module], rank: int, alpha: float) -> None:
    """Make some layers of a network learn a low-rank change, and nothing else of it.

    A change begins as nothing: up is zero, and down is drawn as PyTorch draws a layer's weight.
    """
    net.requires_grad_(False)
    for layer in layers:
        weight = layer._parameters.pop("weight")
        assert weight is not None
        down = weight.new_empty(rank, *weight.shape[1:])
        if not down.is_meta:
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))
        up = weight.new_zeros(len(weight), rank, *(1,) * (weight.ndim - 2))
        layer.__class__ = _KINDS[type(layer)]
        layer.base, layer.alpha = weight, alpha  # type: ignore[assignment]
        layer.lora_down, layer.lora_up = nn.Parameter(down), nn.Parameter(up)


def adapted(net: nn.Module) -> dict[str, LowRank]:
    """The layers that learn like this, by name; empty of any other network."""
    return {name: one for name, one in net.named_modules() if isinstance(one, LowRank)}


def share_frozen(net: N) -> N:
    """A copy that has its own trained parameters and buffers, and shares those that are frozen."""
    return copy.deepcopy(net, {id(p): p for p in net.parameters() if not p.requires_grad})


@torch.no_grad()
def merged(net: N) -> N:
    """The network with its changes as part of the weights: the plain one that others expect.

    It shares all other parameters with `net`, and is `net` itself where nothing is adapted.
    """
    if not adapted(net):
        return net
    plain = copy.deepcopy(net, {id(p): p for p in net.parameters()})
    for layer in adapted(plain).values():
        weight = nn.Parameter(layer.weight, requires_grad=False)
        for name in ("base", "lora_down", "lora_up"):
            del layer._parameters[name]
        del layer.alpha
        layer.__class__ = next(  # type: ignore[assignment]
            kind for kind, own in _KINDS.items() if type(layer) is own
        )
        layer._parameters = {"weight": weight, **layer._parameters}
    return plain
