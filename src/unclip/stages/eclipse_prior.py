"""A prior without diffusion as a stage, after ECLIPSE (arXiv 2312.04655): text in, z_i out."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..device import no_autocast
from ..nn.eclipse_prior import EclipsePriorConfig
from ..rng import Rng
from ..types import Cond
from .comparing import ComparingStage, Features, Samples
from .one_pass import OnePassConfig, OnePassPrior
from .stage import StageConfig


class EclipsePriorStageConfig(OnePassConfig):
    """The configuration; `contrast` is the paper's lambda."""

    kind: Literal["eclipse_prior"] = "eclipse_prior"
    network: EclipsePriorConfig
    contrast: float = Field(0.2, ge=0, description="weight of the contrastive loss")
    temperature: float = Field(0.07, gt=0, description="of the contrastive loss")


class EclipsePriorStage(ComparingStage, OnePassPrior):
    """Section 3.2 of arXiv 2312.04655."""

    Config: ClassVar[type[StageConfig]] = EclipsePriorStageConfig
    kind = "eclipse_prior"
    config: EclipsePriorStageConfig

    def features(self, cond: Cond, rng: Rng, heads: nn.ModuleDict) -> Features:
        """What it says z_i is, and what z_i and z_t are, (B, D) each."""
        assert cond.image_embed is not None and cond.text_embed is not None
        drawn = self.net(dict(cond.items())).float()
        return {"drawn": drawn, "image": cond.image_embed, "text": cond.text_embed.float()}

    def compare(self, samples: Samples, heads: nn.ModuleDict) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared distance to z_i, plus `contrast` times the cross-entropy of picking its z_t."""
        drawn, image_embed = samples.own["drawn"], samples.own["image"]
        distance = (drawn - image_embed).square().sum(-1)
        texts = samples.every("text")
        contrast = contrastive(drawn, texts, self.config.temperature, samples.first)
        cosine = F.cosine_similarity(drawn, image_embed)
        return distance + self.config.contrast * contrast, {"cosine": cosine}


def contrastive(
    image_embed: Tensor, text_embed: Tensor, temperature: float, first: int = 0
) -> Tensor:
    """(B,) cross-entropy of picking for each (B, D) z_i its own among (N, D) z_t of unit norm.

    Equal captions have equal logits, so sharing the target among them would change nothing.
    `first` is the place of the first one's own.
    """
    with no_autocast(image_embed.device):  # 1/temperature magnifies rounding
        logits = F.normalize(image_embed, dim=-1) @ text_embed.T / temperature  # (B, N)
    own = torch.arange(first, first + len(logits), device=logits.device)
    return F.cross_entropy(logits, own, reduction="none")


STAGE = EclipsePriorStage
