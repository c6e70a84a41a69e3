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
from ..nn.windows import SIDE, Span, Window, windows
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
    height, width = stage.shape(cond)[1:]
    asked = cond.mask, control.noise, control.start, control.score
    free = all(one is None for one in asked) and not wraps()
    return free and divides(stage, (height, width))


def divides(stage: Enlarging, size: Span) -> bool:
    """Whether it draws (height, width) in windows, where nothing is known of the picture."""
    network = stage.config.network
    alone = not network.sees_noise and network.reach is not None and stage.level_at_sampling == 0
    return alone and max(size) > SIDE


def window_by_window(
    stage: Enlarging, sample: Sample, cond: Cond, rng: Rng, arguments: SampleArguments
) -> Cond:
    """What `sample` makes of (B, 3, h, w) `image`, by as many windows as it takes.

    Args:
        stage: see `drawn_apart`.
        sample: draws a picture whole.
        cond, rng, arguments: what it takes. A step is told for each window, of what is drawn.
    """
    assert cond.image is not None
    height, width = stage.shape(cond)[1:]
    drawn = torch.zeros(len(cond.image), 3, height, width, device=cond.image.device)
    every = divided(stage, (height, width), arguments.sampling)
    for number, window in enumerate(every, 1):
        small = cond.replace(image=cond.image[:, :, *window.shrunk(stage.factor).seen])
        part = sample(small, rng, arguments._replace(on_step=None)).image
        assert part is not None
        drawn[:, :, *window.kept] = part[:, :, *window.kept_of_seen]
        if arguments.on_step is not None:
            arguments.on_step(Step(stage.kind, number, len(every), drawn))
    return cond.replace(image=drawn)


def divided(stage: Enlarging, size: Span, sampling: dict[str, Any]) -> list[Window]:
    """The windows of a picture of (height, width), with all around each that it depends on."""
    config, unit = stage.config, math.lcm(stage.config.network.unit, stage.factor)
    seen = pixels_seen(config.sampling.merge(sampling).sharpen)
    seen += stage.factor * ENLARGING[config.enlarge] + (config.network.reach or 0)
    reach = -(-seen // unit) * unit
    side = max(SIDE - 2 * reach, SIDE // 8, unit)  # larger windows where a network looks far
    return list(windows(size, side // unit * unit, reach))
