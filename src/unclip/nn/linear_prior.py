"""The smallest prior: one affine map, the baseline of Kandinsky's paper (arXiv 2310.03502)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from ..config import Config
from .conditioning import Given
from .layers import identity_


class LinearPriorConfig(Config):
    """Size of the map."""

    embed_dim: int = Field(gt=0, description="width of CLIP's space (D)")

    @property
    def reads(self) -> frozenset[str]:
        """Fields of a condition that it needs."""
        return frozenset({"text_embed"})

    def build(self) -> LinearPriorNet:
        """The network."""
        return LinearPriorNet(self)


class LinearPriorNet(nn.Module):
    """z_i = A z_t + b. Untrained it hands z_t on, which is what doing without a prior means."""

    def __init__(self, config: LinearPriorConfig) -> None:
        super().__init__()
        self.config = config
        self.map = nn.Linear(config.embed_dim, config.embed_dim)
        identity_(self.map.weight)
        nn.init.zeros_(self.map.bias)

    def forward(self, given: Given) -> Tensor:
        """z_t (B, D) -> (B, D), of no particular norm."""
        out: Tensor = self.map(given["text_embed"].to(self.map.weight.dtype))
        return out
