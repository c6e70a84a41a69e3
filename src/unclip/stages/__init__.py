"""Stages: a network with its schedule, parameterization, space and sampling defaults.

One file a stage; `STAGES["decoder"]` is the class in `decoder.py`.
"""

from __future__ import annotations

import torch

from ..nn.layers import skip_init
from ..registry import Registry
from .sampling import Sampling, check_finite
from .stage import DiffusionStage, Stage, StageConfig

STAGES: Registry[type[Stage]] = Registry(
    "unclip.stages", "STAGE", "stage", also=("unclip.families.*",)
)

__all__ = [
    "STAGES",
    "DiffusionStage",
    "Sampling",
    "Stage",
    "StageConfig",
    "check_finite",
    "on_meta",
]


def on_meta(config: StageConfig) -> Stage:
    """A stage without numbers, on `meta`, for weights that are read or for shapes alone."""
    with torch.device("meta"), skip_init():
        return STAGES[config.kind](config)
