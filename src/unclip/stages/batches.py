"""Batches: how much is drawn at once, and the parts of one that is too much."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..config import shown
from ..cost import BATCH
from ..errors import UsageError, counted
from ..rng import Rng
from ..types import Cond, Control, OnStep
from .model import Model
from .stage import Stage


def most_at_once(model: Model, cond: Cond, stage: str | None = None) -> int:
    """How many samples take about the memory of `BATCH` pictures of the model's own size.

    Args:
        model: what draws.
        cond: what they are drawn from; several conditions at once take as much more.
        stage: an optional one, which draws fewer than the stages before it; None is those.
    """
    larger = model.enlarged
    if stage is None:
        larger /= math.prod(model.stages[name].factor ** 2 for name in model.running)
    return max(1, int(BATCH / (max(1.0, larger) * len(cond.every))))


def run_stage(
    stage: Stage,
    name: str,
    options: dict[str, Any],
    on_step: OnStep | None,
    rng: Rng,
    control: Control,
    cond: Cond,
) -> Cond:
    """What a stage makes of a condition, with the noise that is its own."""
    return stage.sample(cond, rng.fork(name), options, on_step, control)


def in_portions(
    run: Callable[[Rng, Control, Cond], Cond], rng: Rng, control: Control, cond: Cond, most: int
) -> Cond:
    """`cond` with the pictures that `run` draws of it, `most` at a time."""
    images: list[Tensor] = []
    for start in range(0, len(cond), most):
        part = slice(start, start + most)
        image = run(Rng(rng.seeds[part], rng.device), control[part], cond[part]).image
        assert image is not None
        images.append(image)
    return cond.replace(image=torch.cat(images))


def check_batch(count: int, cond: Cond, controls: Mapping[str, Control]) -> None:
    """Raise UsageError unless there is one of each for every seed."""
    if not isinstance(cond, Cond):
        raise UsageError(f"cond must be a Cond, such as `read` gives, got {shown(cond)}")
    lengths = {f"controls of '{name}'": len(one) for name, one in controls.items() if len(one)}
    for what, length in {"conditions": len(cond), **lengths}.items():
        if length != count:
            raise UsageError(f"{counted(count, 'seed')} and {length} {what}: give as many")
