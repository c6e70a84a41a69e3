"""A U-Net for all timesteps but the last, and another for that."""

from __future__ import annotations

from torch import Tensor, nn

from .conditioning import Encoded, Given
from .unet import UNet


class LastStep(nn.Module):
    """Two U-Nets: one for all timesteps but 0, one for that alone.

    Both see the same condition, which must be without context.
    """

    def __init__(self, net: UNet, last: UNet) -> None:
        super().__init__()
        self.net = net
        self.last = last
        self.config = net.config  # of both

    def encode(self, given: Given) -> Encoded:
        """See `UNet`."""
        return self.net.encode(given)

    def forward(self, x: Tensor, t: Tensor, encoded: Encoded) -> Tensor:
        """(B, C, H, W), (B,) timesteps, all 0 or none -> (B, out_channels, H, W)."""
        out: Tensor = (self.last if bool((t < 0.5).all()) else self.net)(x, t, encoded)
        return out
