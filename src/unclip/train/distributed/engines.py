"""Which engine trains a stage."""

from __future__ import annotations

import torch

from ..config import TrainConfig
from ..world import World
from .engine import Ddp, Engine


def make_engine(config: TrainConfig, world: World, device: torch.device) -> Engine:
    """The engine that a stage's training asks for: with one process, none of PyTorch's."""
    if world.alone:
        return Engine(config, world, device)
    if config.engine == "ddp":
        return Ddp(config, world, device)
    from .fsdp import Fsdp

    return Fsdp(config, world, device)
