"""Training of an autoencoder: what the stage measures itself, CLIP's view of patches, a critic."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import TrainingError, UsageError
from ..nn.critic import Critic
from ..rng import Rng
from ..stages import Stage
from ..stages.autoencoder import AutoencoderStage, PatchCritic, Reconstruction
from ..types import Cond
from .adversarial import constant, pairwise
from .config import TrainConfig
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
        gap, options = means.get("gap", 0.0), self.options
        if options and gap > options.largest_gap:
            raise TrainingError(
                f"the critic wins: its logits of true and made pictures are {gap:.1f} apart, more "
                f"than critic.largest_gap, {options.largest_gap:g}. Raise critic.penalty or lower "
                "critic.rate"
            )

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
        """(B,) what the head and the critic lose to each other, as in `AdversarialTask`."""
        said = self.stage.net.decoder.head(made.features.detach())
        real = critic(made.truth, (), None)
        with constant(critic):
            fake = critic(said, (), None)
        adversarial = pairwise(fake, [one.detach() for one in real], F.softplus)
        pairs = [(made.truth, real), (said.detach(), critic(said.detach(), (), None))]
        fake = pairs[1][1]
        loss = pairwise(real, fake, F.softplus)
        noted = {"adversarial": adversarial, "critic": loss}
        noted["gap"] = pairwise(real, fake, torch.neg)
        if options.penalty:
            noise = options.penalty_noise * rng.randn(*said.shape[1:])
            moved = [pairwise(critic(x + noise, (), None), old, torch.square) for x, old in pairs]
            noted["penalty"] = torch.stack(moved).sum(0)
            loss = loss + options.penalty * noted["penalty"]
        return options.weight * adversarial + loss, {n: one.detach() for n, one in noted.items()}
