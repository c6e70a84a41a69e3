"""Training of an autoencoder: what the stage measures itself, CLIP's view of patches, a critic."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from ..nn.critic import Critic
from ..rng import Rng
from ..stages import Stage
from ..stages.autoencoder import AutoencoderStage, PatchCritic, Reconstruction
from ..types import Cond
from .config import TrainConfig
from .critics import Logits, check_gap, constant, critic_loss, rival_loss
from .optim import critic_config
from .task import Task


class AutoencoderTask(Task):
    """An autoencoder, and late in training its critic, which moves the decoder's head alone."""

    stage: AutoencoderStage
    progress = 0.0

    def __init__(self, stage: Stage, clip: Stage | None = None, *, name: str = "") -> None:
        super().__init__(stage, clip, name=name)
        if self.stage.config.clip_weight and not any(one.sees for one in self.clip):
            raise UsageError(
                f"stage '{self.name}' compares what CLIP says of patches, and the recipe has no "
                f"CLIP with an image encoder: add one, or set stages.{self.name}.clip_weight = 0"
            )
        values = self.stage.config.network.image_channels
        self.critic = Critic((), 0, values) if self.options else None

    @property
    def options(self) -> PatchCritic | None:
        """How the critic judges, where there is one."""
        return self.stage.config.critic

    @property
    def whole(self) -> list[nn.Module]:
        """See `Task`; and the critic."""
        return [*super().whole, *([self.critic] if self.critic else [])]

    @property
    def phases(self) -> tuple[float, ...]:
        """See `Task`: until the critic begins, and from then on."""
        return tuple(sorted({0.0, 1 - self.options.share})) if self.options else (0.0,)

    def begin(self, progress: float, average: nn.Module) -> None:
        """See `Task`."""
        self.progress = progress

    def learners(self, config: TrainConfig) -> dict[str, tuple[nn.Module, TrainConfig]]:
        """See `Task`; and the critic."""
        own = super().learners(config)
        if self.critic is None or self.options is None:
            return own
        return {**own, "critic_": (self.critic, critic_config(config, self.options.rate))}

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """(B,) of a batch's crops, and what each part has of it."""
        made = self.stage.reconstructed(cond, rng)
        loss, metrics = made.loss, dict(made.metrics)
        if weight := self.stage.config.clip_weight:
            apart = self._unlike(made)
            metrics["clip"] = apart.detach()
            loss = loss + weight * apart
        options = self.options
        if self.critic is not None and options and self.progress >= 1 - options.share:
            judged, noted = self._judged(self.critic, options, made, rng)
            loss, metrics = loss + judged, metrics | noted
        return loss, metrics

    def measured(self, stage: Stage, cond: Cond) -> dict[str, Tensor]:
        """See `Task`: whole pictures, encoded and decoded."""
        assert isinstance(stage, AutoencoderStage) and cond.image is not None
        return stage.measured(cond.image)

    def check(self, means: Mapping[str, float]) -> None:
        """See `Task`: the critic may not win."""
        if self.options:
            check_gap(means, self.options, "critic", "rate")

    def _unlike(self, made: Reconstruction) -> Tensor:
        """(B,) 1 - cos between what CLIP says of each patch of a crop and of what came back."""
        net = self.clip[0].net
        with torch.no_grad():
            true = net.see(made.truth)[1]
        cosine = F.cosine_similarity(net.see(made.said)[1].float(), true.float(), dim=2)
        return 1 - cosine.mean(1)

    def _judged(
        self, critic: Critic, options: PatchCritic, made: Reconstruction, rng: Rng
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(B,) what the head and the critic lose to each other."""
        said = self.stage.net.decoder.head(made.features.detach())

        def logits(x: Tensor) -> Logits:
            found: Logits = critic(x, (), None)
            return found

        real = logits(made.truth)
        with constant(critic):
            adversarial = rival_loss(logits(said), real)
        pairs = [(made.truth, real), (said.detach(), logits(said.detach()))]
        loss, noted = critic_loss(pairs, logits, options, rng)
        noted["adversarial"] = adversarial
        return options.weight * adversarial + loss, {n: one.detach() for n, one in noted.items()}
