"""Drawing pictures for a command, with progress."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ._terminal import sampling_progress

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..pipeline import Pipeline

_NOT_SETTINGS = ("self", "prompt", "n", "seed", "on_step")


def draw(
    pipe: Pipeline, prompt: str, n: int, seed: int, settings: Mapping[str, Any]
) -> list[Image]:
    """`Pipeline.generate` with a progress bar. Raises UsageError."""
    for name in _NOT_SETTINGS:
        if name in settings:
            raise UsageError(f"unknown setting '{name}': it is not a setting of the sampling")
    with sampling_progress() as on_step:
        return pipe.generate(prompt, n, seed, on_step, **settings)
