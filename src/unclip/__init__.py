"""Open DALL·E 2 (unCLIP): text -> CLIP -> prior -> decoder -> upsamplers.

import unclip

pipe = unclip.load()
pipe.generate("a red car", n=4, seed=7)[0].save("car.png")
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .errors import Cancelled, UnclipError

if TYPE_CHECKING:
    from .facade import Pipeline
    from .loading import load
    from .stages import Stage
    from .types import Step

__all__ = ["Cancelled", "Pipeline", "Stage", "Step", "UnclipError", "__version__", "load"]

_LAZY = {
    "Pipeline": "unclip.facade",
    "load": "unclip.loading",
    "Stage": "unclip.stages",
    "Step": "unclip.types",
}

if not Path(__file__).parent.is_dir():
    raise ImportError(
        "unclip cannot be imported from an archive, because it reads weights and other files "
        f"beside its code: pip install {Path(__file__).parents[1]}"
    )


def __getattr__(name: str) -> Any:
    """Import PyTorch only when needed, so that `unclip --help` is fast."""
    if name not in _LAZY:
        raise AttributeError(f"module 'unclip' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
