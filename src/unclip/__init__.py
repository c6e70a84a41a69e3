"""Open DALL·E 2 (unCLIP): text -> CLIP -> prior -> decoder -> upsamplers.

import unclip

pipe = unclip.load()
pipe.generate("a red car", n=4, seed=7)[0].save("car.png")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._version import __version__
from .errors import Cancelled, UnclipError

if TYPE_CHECKING:
    from .facade import Pipeline
    from .loading import load
    from .stages import Stage

__all__ = ["Cancelled", "Pipeline", "Stage", "UnclipError", "__version__", "load"]

_LAZY = {"Pipeline": "unclip.facade", "load": "unclip.loading", "Stage": "unclip.stages"}


def __getattr__(name: str) -> Any:
    """Import PyTorch only when needed, so that `unclip --help` is fast."""
    if name not in _LAZY:
        raise AttributeError(f"module 'unclip' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
