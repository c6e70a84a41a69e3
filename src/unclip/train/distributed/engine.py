"""Engines: what processes share of the network that they train."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from ...stages import Stage
from ..config import TrainConfig
from ..contrastive import ContrastiveTask
from ..ema import Ema
from ..task import Task
from ..world import World
from .gradients import average_gradients


class Engine:
    """One process: it has the whole network for itself."""

    def __init__(self, config: TrainConfig, world: World, device: torch.device) -> None:
        self.config, self.world, self.device = config, world, device

    def arrange(self, task: Task, ema: Ema) -> None:
        """Divide a task that has been placed, and its average."""

    def in_pieces(self) -> AbstractContextManager[object]:
        """Within, a batch is worked on in pieces: gradients are added up, and not shared yet."""
        return nullcontext()

    def finish(self) -> None:
        """Gradients have been computed: average over processes what is not averaged yet."""

    def average(self, ema: Ema) -> nn.Module:
        """The averaged network as a task computes with it; all processes ask together."""
        return ema.average

    def averaged(self, stage: Stage, ema: Ema) -> Stage:
        """The stage with the averaged weights: whole in the first process, for nobody else."""
        return stage.with_net(ema.average)


class Ddp(Engine):
    """Each process has the whole network and a part of the batch; gradients are averaged.

    PyTorch's DistributedDataParallel (arXiv 2006.15704). Some weights have no gradient in some
    steps, so it looks for those.
    """

    def arrange(self, task: Task, ema: Ema) -> None:
        """See `Engine`."""
        self.module: Any = nn.parallel.DistributedDataParallel(
            task, gradient_as_bucket_view=True, find_unused_parameters=True
        )
        task.through = [self.module]
        compare(task, self.world)
        self.apart = False

    @contextmanager
    def in_pieces(self) -> Iterator[None]:
        """See `Engine`."""
        self.apart = True
        with self.module.no_sync():
            yield

    def finish(self) -> None:
        """See `Engine`."""
        if self.apart:
            average_gradients(self.module.parameters(), self.world)
        self.apart = False


def compare(task: Task, world: World) -> None:
    """Let a loss that compares samples see those of all processes."""
    if isinstance(task, ContrastiveTask):
        from .gathering import All

        task.everyone = All(world)
