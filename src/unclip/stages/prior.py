"""The diffusion prior as a stage: text and z_t in, z_i out."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..diffusion.parameterization import Parameterization
from ..diffusion.schedule import Cosine, ScheduleConfig
from ..diffusion.space import Embedding, Space, SpaceConfig, Whitened
from ..nn.prior import PriorConfig
from ..rng import Rng
from ..types import Cond
from .sampling import SampleArguments, Sampling
from .stage import DiffusionConfig, DiffusionStage, StageConfig


class AnyPriorConfig(DiffusionConfig):
    """What the configuration of every prior by diffusion has."""

    network: Any  # with `reads`, `embed_dim`, `whiten` and `build`
    schedule: ScheduleConfig = Cosine()
    parameterization: Parameterization = Parameterization(kind="x0")
    space: SpaceConfig = Embedding()
    candidates: int = Field(2, ge=1, description="draw so many, keep the highest z_i·z_t")


class PriorStageConfig(AnyPriorConfig):
    """The prior's configuration; defaults are the paper's."""

    kind: Literal["prior"] = "prior"
    network: PriorConfig
    sampling: Sampling = Sampling(sampler="ddpm", steps=64, eta=1.0, guidance_scale=2.0)


class PriorStage(DiffusionStage):
    """Section 2.2 of arXiv 2204.06125."""

    Config: ClassVar[type[StageConfig]] = PriorStageConfig
    kind = "prior"
    consumes: frozenset[str] = frozenset({"text_mask", "text_embed", "text_encodings"})
    produces: frozenset[str] = frozenset({"image_embed"})
    config: AnyPriorConfig
    net: Any

    def __init__(self, config: AnyPriorConfig) -> None:
        super().__init__()
        self.config = config
        self.net = config.network.build()
        self.consumes = config.network.reads

    @property
    def space(self) -> Space:
        """The network's own, where it knows how z_i is spread."""
        if not self.config.network.whiten:
            return self.config.space
        net = self.net
        return Whitened(net.mean, net.std)

    def shape(self, cond: Cond) -> tuple[int, ...]:
        """(D,)."""
        return (self.config.network.embed_dim,)

    def steps(self, sampling: dict[str, Any] | None = None, inpaints: bool = False) -> int:
        """Those of every candidate; what is known of a picture is nothing to it."""
        return self.config.candidates * super().steps(sampling)

    def _sample(self, cond: Cond, rng: Rng, arguments: SampleArguments) -> Cond:
        """Add `image_embed` (B, D): of `candidates` draws, the one nearest to z_t."""
        count, batch = self.config.candidates, len(cond)
        many = rng.branch("candidate", count)
        repeated = cond.replace(known=None, mask=None).map(lambda v: torch.cat([v] * count))
        drawn = self.sample_data(repeated, many, arguments.sampling, arguments.on_step).view(
            count, batch, -1
        )
        assert cond.text_embed is not None
        score = F.cosine_similarity(drawn, cond.text_embed[None], dim=-1)  # (candidates, B)
        best = score.argmax(0)
        return cond.replace(image_embed=drawn[best, torch.arange(batch, device=best.device)])

    def example(self, cond: Cond, rng: Rng) -> tuple[Cond, Tensor]:
        """The text, and its picture's z_i."""
        assert cond.image_embed is not None
        return cond, self.space.encode(cond.image_embed)


STAGE = PriorStage
