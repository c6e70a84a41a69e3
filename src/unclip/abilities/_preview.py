"""Pictures while they are drawn: what the network takes x0 for, a few times, at little cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..config import shown
from ..errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..pipeline import Chain
    from ..types import Step

SHARE = 0.04
"""Most of the time that previews take, all together."""

FIRST = 0.01
"""Seconds that one takes, before that is known."""

SIDE = 512
"""Longest side of a preview."""


def preview(pipe: Chain, step: Step) -> list[Image]:
    """A batch as it is at a step, enlarged to the size of the finished pictures.

    At most 512 pixels a side. Latents are decoded from a small grid. Nothing of it changes what is
    drawn.

    Returns:
        PIL pictures; none where the step's stage makes no picture, as a prior.
    """
    import torch
    from torch.nn import functional as F

    from ..media import to_pictures

    stage = pipe.stages.get(step.stage)
    with torch.inference_mode():
        image = None if stage is None else stage.preview(step)  # (B, 3, H, W)
        if image is None:
            return []
        factor = min(SIDE, max(pipe.model.size)) / max(image.shape[-2:])
        size = [max(1, round(side * factor)) for side in image.shape[-2:]]
        if factor != 1:
            image = F.interpolate(image.float(), size, mode="area" if factor < 1 else "bilinear")
        return to_pictures(image)


class Previews:
    """An `on_step` that shows previews, as many as take a small share of the time.

    Args:
        pipe: whose steps they are.
        show: gets a batch of PIL pictures.
        share: most of the time that previews take.
    """

    def __init__(
        self,
        pipe: Chain,
        show: Callable[[Sequence[Image]], None],
        share: float = SHARE,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if not callable(show):
            raise UsageError(f"show must be a function of pictures, got {shown(show)}")
        self._pipe, self._show, self._share, self._clock = pipe, show, share, clock
        self._began = clock()
        self._spent, self._most = 0.0, FIRST  # seconds: of all, of the dearest

    def __call__(self, step: Step) -> None:
        """Show the batch, where it is time."""
        before = self._clock()
        if self._spent + self._most > self._share * (before - self._began):
            return
        if pictures := preview(self._pipe, step):
            self._show(pictures)
            took = self._clock() - before
            self._spent, self._most = self._spent + took, max(self._most, took)
