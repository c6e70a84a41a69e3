"""An exponential moving average of the weights: what is sampled from and shipped."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Ema:
    """Keeps `average` near `net`. Its decay warms up, so that early averages are not the start."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.average = copy.deepcopy(net).eval().requires_grad_(False)

    def restart(self, net: nn.Module) -> None:
        """Begin again as `net` is."""
        self.average.load_state_dict(net.state_dict())

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Move towards `net` after step `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages: list[Tensor] = list(self.average.parameters())
        torch._foreach_lerp_(averages, list(net.parameters()), 1 - decay)
        for mine, theirs in zip(self.average.buffers(), net.buffers(), strict=True):
            mine.copy_(theirs)
