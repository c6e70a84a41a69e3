"""DALLE2-pytorch's calls: its scripts run with `unclip.compat.dalle2_pytorch` imported instead.

Networks, losses and samplers are this package's, and what is random is drawn from PyTorch's own
generator in the peer's order (1.15.6, and x-clip's `CLIP`): with the same weights the same seed
gives the same loss. State dicts have its names. See docs/coming-from.md.
"""

from __future__ import annotations

from typing import Any

from .adapters import OpenAIClipAdapter, OpenClipAdapter, XClipAdapter
from .clip import CLIP
from .configs import TrainDecoderConfig, TrainDiffusionPriorConfig
from .dalle2 import DALLE2
from .decoder import Decoder
from .files import load
from .prior import DiffusionPrior, DiffusionPriorNetwork
from .unet import Unet

__all__ = [
    "CLIP",
    "DALLE2",
    "Decoder",
    "DiffusionPrior",
    "DiffusionPriorNetwork",
    "OpenAIClipAdapter",
    "OpenClipAdapter",
    "TrainDecoderConfig",
    "TrainDiffusionPriorConfig",
    "Unet",
    "XClipAdapter",
    "load",
]

_TRAIN = "a loop of your own over the loss, or `unclip train` (docs/training.md)"
INSTEAD = {
    "DecoderTrainer": _TRAIN,
    "DiffusionPriorTrainer": _TRAIN,
    "VQGanVAE": "a latent decoder of `unclip train`",
    "CoCaAdapter": "CLIP, OpenAIClipAdapter or OpenClipAdapter",
}
"""What the peer has and this module has not -> what to use."""


def __getattr__(name: str) -> Any:
    if name in INSTEAD:
        raise ImportError(f"{name} is not here: use {INSTEAD[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
