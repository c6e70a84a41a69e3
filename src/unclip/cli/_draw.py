"""Drawing pictures for a command: in batches, with progress."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ._terminal import sampling_progress

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..pipeline import Pipeline

BATCH = 16
"""Pictures drawn at once, so that memory does not grow with how many are asked for."""

_NOT_SETTINGS = ("self", "prompt", "n", "seed", "on_step")


def draw(
    pipe: Pipeline, prompt: str, n: int, seed: int, settings: Mapping[str, Any]
) -> list[Image]:
    """`Pipeline.generate` with a progress bar. Raises UsageError."""
    for name in _NOT_SETTINGS:
        if name in settings:
            raise UsageError(f"unknown setting '{name}': it is not a setting of the sampling")
    pictures: list[Image] = []
    with sampling_progress() as on_step:
        for start in range(0, n, BATCH):
            count = min(BATCH, n - start)
            pictures += pipe.generate(prompt, count, seed + start, on_step, **settings)
    return pictures
