"""Engines: what processes share of the network that they train."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from ...rng import Rng
from ...stages import Stage
from ..config import TrainConfig
from ..ema import Ema
from ..loader import Batch
from ..task import Task
from .world import World

Forward = Callable[[Batch, Rng], tuple[Tensor, dict[str, Tensor]]]
"""A task's loss and metrics of a batch."""


class Engine:
    """One process: it has the whole network for itself."""

    def __init__(self, config: TrainConfig, world: World, device: torch.device) -> None:
        self.config, self.world, self.device = config, world, device

    def arrange(self, task: Task, ema: Ema) -> Forward:
        """Divide a task that has been placed and its average; what gives the loss from now on."""
        return task

    def unsynchronised(self) -> AbstractContextManager[object]:
        """Within, gradients are added up and not yet averaged over processes."""
        return nullcontext()

    def finish(self) -> None:
        """Gradients have been computed: average what is not averaged yet."""

    def averaged(self, stage: Stage, ema: Ema) -> Stage:
        """The stage with the averaged weights: whole in the first process, for nobody else."""
        return stage.with_net(ema.average)


class Ddp(Engine):
    """Each process has the whole network and a part of the batch; gradients are averaged.

    PyTorch's DistributedDataParallel (arXiv 2006.15704). Some weights have no gradient in some
    steps, so it looks for those.
    """

    def arrange(self, task: Task, ema: Ema) -> Forward:
        """See `Engine`."""
        self.module = nn.parallel.DistributedDataParallel(
            task, gradient_as_bucket_view=True, find_unused_parameters=True
        )
        forward: Forward = self.module
        return forward

    def unsynchronised(self) -> AbstractContextManager[object]:
        """See `Engine`."""
        return self.module.no_sync()


def make_engine(config: TrainConfig, world: World, device: torch.device) -> Engine:
    """The engine that a stage's training asks for: with one process, none of PyTorch's."""
    if world.alone:
        return Engine(config, world, device)
    if config.engine == "ddp":
        return Ddp(config, world, device)
    from .fsdp import Fsdp

    return Fsdp(config, world, device)
