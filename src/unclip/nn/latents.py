"""What diffuses latents: the autoencoder that makes them, as a space, beside the network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..config import Config
from .conditioning import Given

PIXELS = 2**19
"""How many pixels an autoencoder works on at once: two pictures of 512 x 512."""


class LatentsConfig(Config, ABC):
    """Settings of an autoencoder."""

    @abstractmethod
    def build(self) -> nn.Module:
        """The network: `encode` pictures to latents of about unit variance, `decode` them again."""

    @property
    @abstractmethod
    def factor(self) -> int:
        """How many pixels' side one latent stands for."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Channels of what is diffused."""


@dataclass(frozen=True)
class Latents:
    """The space of an autoencoder's latents."""

    autoencoder: Any  # what `LatentsConfig.build` gives

    def encode(self, data: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, c, h, w): their mean, nothing drawn."""
        return self._by_parts(self.autoencoder.encode, data, data[0, 0].numel())

    def decode(self, x: Tensor) -> Tensor:
        """(B, c, h, w) -> (B, 3, H, W) within [-1, 1]."""
        pixels = x[0, 0].numel() * self.autoencoder.config.factor**2
        return self._by_parts(self.autoencoder.decode, x, pixels).clamp(-1, 1)

    def _by_parts(self, fn: Callable[[Tensor], Tensor], x: Tensor, pixels: int) -> Tensor:
        """As many pictures at once as keep memory in bounds, in the autoencoder's own dtype."""
        dtype = next(self.autoencoder.parameters()).dtype
        parts = torch.split(x.to(dtype), max(1, PIXELS // pixels))
        return torch.cat([fn(part).float() for part in parts])


class InLatents(nn.Module):
    """A network that denoises latents, and the autoencoder that makes them. Each is whole alone."""

    def __init__(self, unet: nn.Module, autoencoder: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        self.autoencoder = autoencoder

    def encode(self, given: Given) -> Any:
        """What the network makes of its condition, once a prompt."""
        return self.unet.encode(given)  # type: ignore[operator]

    def forward(self, x: Tensor, t: Tensor, encoded: Any) -> Tensor:
        """(B, c, h, w) noisy latents, (B,) timestep -> (B, out_channels, h, w)."""
        out: Tensor = self.unet(x, t, encoded)
        return out
