"""An exponential moving average of the weights: what is sampled from and shipped."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..nn.lora import share_frozen
from .sharded import local


class Ema:
    """Keeps `average` near `net`. Its decay warms up, so that early averages are not the start.

    Parameters that are frozen are in memory once: those of `net`.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self._learning = [name for name, one in net.named_parameters() if one.requires_grad]
        self.average = share_frozen(net).eval()
        for name in self._learning:
            self.average.get_parameter(name).requires_grad_(False)

    @torch.no_grad()
    def restart(self, net: nn.Module) -> None:
        """Begin again as `net` is."""
        for mine, theirs in self._pairs(net):
            mine.copy_(theirs)

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Move towards `net` after step `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages = [local(self.average.get_parameter(name)) for name in self._learning]
        current = [local(net.get_parameter(name)) for name in self._learning]
        torch._foreach_lerp_(averages, current, 1 - decay)
        for mine, theirs in zip(self.average.buffers(), net.buffers(), strict=True):
            mine.copy_(theirs)

    def _pairs(self, net: nn.Module) -> list[tuple[Tensor, Tensor]]:
        """What this process holds of each tensor of the average, and of `net`."""
        mine = [*self.average.parameters(), *self.average.buffers()]
        theirs = [*net.parameters(), *net.buffers()]
        return [(local(a), local(b)) for a, b in zip(mine, theirs, strict=True)]
