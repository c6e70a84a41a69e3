"""One affine map as a stage: z_t in, z_i out. What a prior has to beat (arXiv 2310.03502)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..nn.linear_prior import LinearPriorConfig, LinearPriorNet
from ..rng import Rng
from ..types import FREE, Cond, Control, OnStep
from .stage import Stage, StageConfig


class LinearPriorStageConfig(StageConfig):
    """The linear prior's configuration."""

    kind: Literal["linear_prior"] = "linear_prior"
    network: LinearPriorConfig


class LinearPriorStage(Stage):
    """Least squares, by the ordinary trainer. Nothing in it is random."""

    Config = LinearPriorStageConfig
    kind = "linear_prior"
    consumes: frozenset[str] = frozenset({"text_embed"})
    produces: frozenset[str] = frozenset({"image_embed"})
    config: LinearPriorStageConfig
    net: LinearPriorNet

    def __init__(self, config: LinearPriorStageConfig) -> None:
        super().__init__()
        self.config = config
        self.net = LinearPriorNet(config.network)

    @property
    def image_size(self) -> int | None:
        """None: only CLIP sees the picture."""
        return None

    @torch.inference_mode()
    def sample(
        self,
        cond: Cond,
        rng: Rng,
        sampling: dict[str, Any] | None = None,
        on_step: OnStep | None = None,
        control: Control = FREE,
    ) -> Cond:
        """Add `image_embed` (B, D) of unit norm."""
        assert cond.text_embed is not None
        return cond.replace(image_embed=F.normalize(self.net(cond.text_embed).float(), dim=-1))

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared distance of the map's own output, not normalised, to z_i."""
        assert cond.text_embed is not None and cond.image_embed is not None
        drawn = self.net(cond.text_embed).float()
        cosine = F.cosine_similarity(drawn, cond.image_embed)
        return (drawn - cond.image_embed).square().sum(-1), {"cosine": cosine}


STAGE = LinearPriorStage
