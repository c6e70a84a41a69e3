"""Large pictures of an upsampler without noise, window by window.

Each window is drawn to its end: no more than the small picture and the large one are held whole.
`nn/windows.py` has windows of a network's features, for all others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import torch

from ..nn.sharpening import pixels_seen
from ..nn.tiling import wraps
from ..nn.windows import SIDE, windows
from ..rng import Rng
from ..types import Cond, Control, Step
from .sampling import SampleArguments

ENLARGING = {"nearest": 0, "bilinear": 1, "bicubic": 2}
"""Small pixels around one that enlarging looks at."""

Sample = Callable[[Cond, Rng, SampleArguments], Cond]


class Enlarging(Protocol):
    """What is asked of an upsampler."""

    config: Any
    kind: ClassVar[str]
    factor: int

    @property
    def level_at_sampling(self) -> float: ...
    def shape(self, cond: Cond) -> tuple[int, ...]: ...


def drawn_apart(stage: Enlarging, cond: Cond, control: Control) -> bool:
    """Whether a picture is large, and windows need no more than their part of the small one.

    So there is no noise, which would be the whole picture's.
    """
    network = stage.config.network
    alone = not network.sees_noise
    asked = cond.mask, control.noise, control.start, control.score
    free = all(one is None for one in asked) and stage.level_at_sampling == 0
    large = max(stage.shape(cond)[1:]) > SIDE
    return large and alone and free and network.reach is not None and not wraps()


def window_by_window(
    stage: Enlarging, sample: Sample, cond: Cond, rng: Rng, arguments: SampleArguments
) -> Cond:
    """What `sample` makes of (B, 3, h, w) `image`, by as many windows as it takes.

    Args:
        stage: see `drawn_apart`.
        sample: draws a picture whole.
        cond, rng, arguments: what it takes. One step is told, of the whole picture.
    """
    assert cond.image is not None
    height, width = stage.shape(cond)[1:]
    unit = math.lcm(stage.config.network.unit, stage.factor)
    config = stage.config
    seen = pixels_seen(config.sampling.merge(arguments.sampling).sharpen)
    seen += stage.factor * ENLARGING[config.enlarge] + (config.network.reach or 0)
    reach = -(-seen // unit) * unit
    drawn = torch.empty(len(cond.image), 3, height, width, device=cond.image.device)
    for window in windows((height, width), (SIDE - 2 * reach) // unit * unit, reach):
        small = cond.replace(image=cond.image[:, :, *window.shrunk(stage.factor).seen])
        part = sample(small, rng, arguments._replace(on_step=None)).image
        assert part is not None
        drawn[:, :, *window.kept] = part[:, :, *window.kept_of_seen]
    if arguments.on_step is not None:
        arguments.on_step(Step(stage.kind, 1, 1, drawn))
    return cond.replace(image=drawn)
