"""Small parts that several networks share."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

M = TypeVar("M", bound=nn.Module)


def timestep_embedding(t: Tensor, width: int, max_period: float = 10_000.0) -> Tensor:
    """Sinusoidal features of the timestep (Attention Is All You Need, section 3.5).

    Args:
        t: (B,) timesteps in the schedule's own unit; fractions are fine.
        width: number of features, even.

    Returns:
        (B, width) float32: cosines, then sines.
    """
    half = width // 2
    frequencies = torch.exp(-math.log(max_period) / half * torch.arange(half, device=t.device))
    angles = t.float()[:, None] * frequencies  # (B, width / 2)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimestepMlp(nn.Module):
    """Timestep -> sinusoidal features -> two linear layers."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.features = features
        self.fc1 = nn.Linear(features, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        """(B,) -> (B, width)."""
        h = timestep_embedding(t, self.features).to(self.fc1.weight.dtype)
        out: Tensor = self.fc2(F.silu(self.fc1(h)))
        return out


def zero(module: M) -> M:
    """Set all parameters to zero, so that a residual branch starts as nothing."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def select(keep: Tensor | None, value: Tensor, null: Tensor) -> Tensor:
    """`value` where `keep` (B,) is True or None, else `null` (broadcast against a sample)."""
    if keep is None:
        return value
    mask = keep.view(-1, *(1,) * (value.ndim - 1))
    return torch.where(mask, value, null.to(value.dtype))


def trimmed(mask: Tensor) -> Tensor:
    """(B, N) bool without the last columns in which it is False for all: (B, at least 1)."""
    used = mask.any(0).nonzero()
    return mask[:, : int(used[-1]) + 1 if len(used) else 1]


def parameter_count(module: nn.Module) -> int:
    """Number of parameters, trainable or not; works on the `meta` device."""
    return sum(parameter.numel() for parameter in module.parameters())
