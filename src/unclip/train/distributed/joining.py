"""Finding the processes that `torchrun` started beside this one."""

from __future__ import annotations

import os
from typing import Any

import torch

from ...device import pick_device
from ...errors import UsageError
from ..world import World

MINUTES = 30.0
"""How long processes wait for each other before one that hangs is named."""

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What `torchrun` tells each process."""


def restarted() -> bool:
    """Whether `torchrun` has started these processes again, after one of them failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def join(device: str | None, minutes: float = MINUTES) -> tuple[World, torch.device]:
    """The processes that train with this one, and its device.

    Args:
        device: as the user named it; a GPU without a number is each process' own.
        minutes: how long they wait for each other.

    Raises:
        UsageError: no such device.
    """
    if not minutes > 0:
        raise UsageError(f"--timeout must be above 0, got {minutes:g}")
    chosen = pick_device(device)
    if not all(name in os.environ for name in VARIABLES):
        return World(), chosen
    told: dict[str, Any] = {name: os.environ[name] for name in VARIABLES}
    if chosen.type != "cpu" and ":" not in str(chosen):
        chosen = pick_device(f"{chosen.type}:{int(told['LOCAL_RANK'])}")
    from .processes import Processes

    return Processes(int(told["RANK"]), int(told["WORLD_SIZE"]), chosen, minutes), chosen
