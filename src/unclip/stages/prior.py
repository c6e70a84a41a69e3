"""The diffusion prior as a stage: text and z_t in, z_i out."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..diffusion.parameterization import Parameterization
from ..diffusion.schedule import Cosine, ScheduleConfig
from ..diffusion.space import Embedding, Space, SpaceConfig, Whitened
from ..nn.prior import PriorConfig, PriorNet
from ..rng import Rng
from ..types import FREE, Cond, Control, OnStep
from .stage import DiffusionConfig, DiffusionStage, Sampling


class PriorStageConfig(DiffusionConfig):
    """The prior's configuration; defaults are the paper's."""

    kind: Literal["prior"] = "prior"
    network: PriorConfig
    schedule: ScheduleConfig = Cosine()
    parameterization: Parameterization = Parameterization(kind="x0")
    space: SpaceConfig = Embedding()
    sampling: Sampling = Sampling(sampler="ddpm", steps=64, eta=1.0, guidance_scale=2.0)
    candidates: int = Field(2, ge=1, description="draw so many, keep the highest z_i·z_t")


class PriorStage(DiffusionStage):
    """Section 2.2 of arXiv 2204.06125."""

    Config = PriorStageConfig
    kind = "prior"
    consumes: frozenset[str] = frozenset({"text_mask", "text_embed", "text_encodings"})
    produces: frozenset[str] = frozenset({"image_embed"})
    config: PriorStageConfig
    net: PriorNet

    def __init__(self, config: PriorStageConfig) -> None:
        super().__init__()
        self.config = config
        self.net = PriorNet(config.network)

    @property
    def space(self) -> Space:
        """The network's own, where it knows how z_i is spread."""
        net = self.net
        return Whitened(net.mean, net.std) if self.config.network.whiten else self.config.space

    @property
    def image_size(self) -> int | None:
        """None: only CLIP sees the picture."""
        return None

    def shape(self, cond: Cond) -> tuple[int, ...]:
        """(D,)."""
        return (self.config.network.embed_dim,)

    def steps(self, sampling: dict[str, Any] | None = None, holds: bool = False) -> int:
        """Those of every candidate; what is known of a picture is nothing to it."""
        return self.config.candidates * super().steps(sampling)

    @torch.inference_mode()
    def sample(
        self,
        cond: Cond,
        rng: Rng,
        sampling: dict[str, Any] | None = None,
        on_step: OnStep | None = None,
        control: Control = FREE,
    ) -> Cond:
        """Add `image_embed` (B, D): of `candidates` draws, the one nearest to z_t."""
        count, batch = self.config.candidates, len(cond)
        many = rng.branch("candidate", count)
        repeated = cond.replace(known=None, mask=None).map(lambda v: torch.cat([v] * count))
        drawn = self.sample_data(repeated, many, sampling, on_step).view(count, batch, -1)
        assert cond.text_embed is not None
        score = F.cosine_similarity(drawn, cond.text_embed[None], dim=-1)  # (candidates, B)
        best = score.argmax(0)
        return cond.replace(image_embed=drawn[best, torch.arange(batch, device=best.device)])

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of the unnoised z_i; the text is dropped as configured."""
        assert cond.image_embed is not None
        return self.denoising_loss(cond, cond.image_embed, rng)


STAGE = PriorStage
