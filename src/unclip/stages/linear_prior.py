"""One affine map as a stage: z_t in, z_i out. What a prior has to beat (arXiv 2310.03502)."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor
from torch.nn import functional as F

from ..nn.linear_prior import LinearPriorConfig
from ..rng import Rng
from ..types import Cond
from .one_pass import OnePassConfig, OnePassPrior
from .stage import StageConfig


class LinearPriorStageConfig(OnePassConfig):
    """The linear prior's configuration."""

    kind: Literal["linear_prior"] = "linear_prior"
    network: LinearPriorConfig


class LinearPriorStage(OnePassPrior):
    """Least squares, by the ordinary trainer."""

    Config: ClassVar[type[StageConfig]] = LinearPriorStageConfig
    kind = "linear_prior"

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared distance of the map's own output, not normalised, to z_i."""
        assert cond.image_embed is not None
        drawn = self.net(dict(cond.items())).float()
        cosine = F.cosine_similarity(drawn, cond.image_embed)
        return (drawn - cond.image_embed).square().sum(-1), {"cosine": cosine}


STAGE = LinearPriorStage
