"""Batches: how much a stage is run on at once, what steers it, and what it makes of the parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..config import shown
from ..cost import BATCH
from ..errors import UsageError, counted
from ..nn.clip import Clip
from ..rng import Rng
from ..types import Cond, Control, OnStep
from .model import Model
from .stage import DiffusionStage, Stage


def most_at_once(model: Model, cond: Cond, stage: str | None = None) -> int:
    """How many samples take about the memory of `BATCH` pictures of the model's own size.

    Args:
        model: what draws.
        cond: what they are drawn from; several conditions at once take as much more.
        stage: an optional one, which draws fewer than the stages before it; None is those.
    """
    later = model.running if stage is None else model.running[model.running.index(stage) + 1 :]
    larger = model.enlarged / math.prod(model.stages[name].factor ** 2 for name in later)
    return max(1, int(BATCH / (max(1.0, larger) * len(cond.every))))


def run_stage(
    model: Model,
    name: str,
    options: dict[str, Any],
    on_step: OnStep | None,
    rng: Rng,
    control: Control,
    cond: Cond,
) -> Cond:
    """What a stage makes of a condition, with the noise that is its own."""
    stage = model.stages[name]
    return stage.sample(
        cond, rng.fork(name), options, on_step, _steered(model, stage, cond, options, control)
    )


def _steered(
    model: Model, stage: Stage, cond: Cond, options: dict[str, Any], control: Control
) -> Control:
    """`control` with CLIP's similarity as its score, where guidance by it is asked for."""
    if not isinstance(stage, DiffusionStage) or "image" not in stage.produces:
        return control
    if stage.config.sampling.merge(options).clip_guidance_scale == 0:
        return control
    net = model.clip("CLIP guidance", "vision").net
    target = cond.image_embed if cond.text_embed is None else cond.text_embed
    assert target is not None
    return replace(control, score=partial(_similarity, net, target))


def _similarity(net: Clip, target: Tensor, image: Tensor) -> Tensor:
    """(B,) of (B, 3, H, W) pictures to (B, D) embeddings, with gradients."""
    # a clone, because gradients may not pass through a tensor of inference mode
    return (net.encode_image(image) * target.clone()).sum(-1)


def in_portions(
    run: Callable[[Rng, Control, Cond], Cond], rng: Rng, control: Control, cond: Cond, most: int
) -> Cond:
    """`cond` with the pictures that `run` draws of it, `most` at a time."""
    images = Gathered(len(cond))
    for start in range(0, len(cond), most):
        part = slice(start, start + most)
        image = run(Rng(rng.seeds[part], rng.device), control[part], cond[part]).image
        assert image is not None
        images.add(image)
    return cond.replace(image=images.all)


class Gathered:
    """Pictures of several batches in one tensor, which are held once: `torch.cat` holds them twice.

    Args:
        count: how many there will be.
    """

    def __init__(self, count: int) -> None:
        self.all = torch.empty(0)
        self._count, self._there = count, 0

    def add(self, images: Tensor) -> None:
        """(B, 3, H, W), the next ones."""
        if self._there == 0:
            alone = len(images) == self._count
            self.all = images if alone else images.new_empty(self._count, *images.shape[1:])
        if self.all is not images:
            self.all[self._there : self._there + len(images)] = images
        self._there += len(images)


def check_batch(count: int, cond: Cond, controls: Mapping[str, Control]) -> None:
    """Raise UsageError unless there is one of each for every seed."""
    if not isinstance(cond, Cond):
        raise UsageError(f"cond must be a Cond, such as `read` gives, got {shown(cond)}")
    lengths = {f"controls of '{name}'": len(one) for name, one in controls.items() if len(one)}
    for what, length in {"conditions": len(cond), **lengths}.items():
        if length != count:
            raise UsageError(f"{counted(count, 'seed')} and {length} {what}: give as many")
