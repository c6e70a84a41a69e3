"""The task of a stage whose loss compares samples, and may have weights of its own: CLIP's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from ..nn.layers import dropout_from
from ..rng import BatchRng, Rng
from ..stages import Stage, StageConfig, on_meta
from ..stages.comparing import ComparingStage, Everyone, Features, Samples
from ..stages.contrastive.objective import ContrastiveObjective
from ..types import Cond
from .config import TrainConfig
from .loader import Batch
from .pieces import cut, pieces
from .task import Task


class ContrastiveTask(Task):
    """A stage and the heads of its loss.

    In a micro batch there are fewer captions to tell a picture's own from. So the pieces of a batch
    are encoded twice (GradCache, arXiv 2101.06983, section 3.2): first without a graph, for the
    loss of the whole batch and its gradient in what was encoded; then with one, which takes that
    gradient on to the weights. It is the gradient of the whole batch.
    """

    stage: ComparingStage
    encodes_twice = True

    def __init__(self, stage: Stage, *helpers: Stage | None, name: str = "") -> None:
        """`helpers` are those of `Task`."""
        super().__init__(stage, *helpers, name=name)
        self.heads = self.stage.heads()
        self.everyone = Everyone()  # `train.distributed` gives another where there are more

    @property
    def whole(self) -> list[nn.Module]:
        """See `Task`; and the heads."""
        return [*super().whole, self.heads]

    def learners(self, config: TrainConfig) -> dict[str, tuple[nn.Module, TrainConfig]]:
        """See `Task`; and the heads."""
        heads = {"heads_": (self.heads, config)} if list(self.heads.parameters()) else {}
        return {**super().learners(config), **heads}

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Task`."""
        return self._compared(self._features(cond, rng))

    def loss_of(self, stage: Stage, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Task`."""
        assert isinstance(stage, ComparingStage)
        heads = self.heads.eval()  # until the next step
        return stage.compare(Samples(stage.features(cond, rng, heads)), heads)

    def backward(
        self,
        batch: Batch,
        rng: BatchRng,
        micro_batch: int | None = None,
        within: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> dict[str, Tensor]:
        """See `Task`."""
        parts = list(pieces(rng.batch, micro_batch))
        if len(parts) == 1:
            return super().backward(batch, rng, None, within)

        def piece(start: int, end: int) -> Features:
            drawn = rng.part(start, end)
            with within(), dropout_from(self, drawn.fork("dropout")):
                return self.encoded(cut(batch, start, end), drawn)

        with torch.no_grad():
            every = [piece(*part) for part in parts]
        cached = {name: torch.cat([one[name] for one in every]) for name in every[0]}
        leaves = {name: one for name, one in cached.items() if one.is_floating_point()}
        for leaf in leaves.values():
            leaf.requires_grad_()
        with within():
            loss, metrics = self._compared(cached)
        loss.mean().backward()  # type: ignore[no-untyped-call]
        for start, end in parts:
            _pass_on(piece(start, end), {n: one.grad for n, one in leaves.items()}, start, end)
        told = {"loss": loss, **metrics}
        return {name: value.detach().float().mean() for name, value in told.items()}

    def encoded(self, batch: Batch, rng: Rng) -> Features:
        """What is compared of a batch, or of a piece of one."""
        return self._features(self.cond(batch, rng), rng)

    def _features(self, cond: Cond, rng: Rng) -> Features:
        return self.stage.features(cond, rng, self.heads)

    def _compared(self, features: Features) -> tuple[Tensor, dict[str, Tensor]]:
        return self.stage.compare(Samples(features, self.everyone), self.heads)


def _pass_on(features: Features, grads: dict[str, Tensor | None], start: int, end: int) -> None:
    """Backward from features of samples `start` to `end`, whose gradients are known."""
    known = {name: grad[start:end] for name, grad in grads.items() if grad is not None}
    learning = [name for name in known if features[name].requires_grad]
    if learning:
        torch.autograd.backward(
            [features[one] for one in learning], [known[one] for one in learning]
        )


def heads_of(config: StageConfig) -> dict[str, torch.Size]:
    """The shape of every weight that a stage's loss has beside its network."""
    stage = on_meta(config)
    with torch.device("meta"):
        beside = stage.heads() if isinstance(stage, ComparingStage) else nn.ModuleDict()
    return {name: one.shape for name, one in beside.state_dict().items()}


def losses_of(objective: object) -> str:
    """The names of the losses that a CLIP learns from."""
    return ", ".join(objective.losses) if isinstance(objective, ContrastiveObjective) else ""
