"""What priors without diffusion have in common: one pass of a network, nothing random."""

from __future__ import annotations

from typing import Any

from torch.nn import functional as F

from ..rng import Rng
from ..types import Cond
from .sampling import SampleArguments
from .stage import Stage, StageConfig


class OnePassConfig(StageConfig):
    """What the configuration of each has."""

    network: Any  # with `reads` and `build`


class OnePassPrior(Stage):
    """A text has one embedding, whatever the seed."""

    produces: frozenset[str] = frozenset({"image_embed"})
    config: OnePassConfig
    net: Any

    def __init__(self, config: OnePassConfig) -> None:
        super().__init__()
        self.config = config
        self.net = config.network.build()
        self.consumes = config.network.reads

    def _sample(self, cond: Cond, rng: Rng, arguments: SampleArguments) -> Cond:
        """Add `image_embed` (B, D) of unit norm."""
        z_i = self.net(dict(cond.items())).float()
        return cond.replace(image_embed=F.normalize(z_i, dim=-1))
