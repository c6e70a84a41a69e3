"""What each of several GPUs has to hold while a stage trains, worked out on the `meta` device.

A count for each engine. Weights, gradients, moments and average are float32, as training keeps
them: 4 bytes a number, and AdamW two moments of it. FSDP divides each tensor along its first axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..nn.layers import parameter_count
from .activations import Activations
from .blocks import sharded_units
from .cost import phase_costs, task_on_meta
from .optim import hidden_matrices
from .recipe import Recipe
from .world import World

NUMBER = 4
"""Bytes of a float32."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU, the fullest.

    Args:
        name: of the stage.
        engine: what divides the work.
        gpus: how many there are.
        batch: samples that one works on at a time.
        weights, gradients, optimizer, average: of what learns; of a critic each has the whole, and
            no average.
        frozen: networks that it learns with, such as CLIP.
        passing: FSDP's whole weights and gradients of the blocks at work, and of all that is in no
            block, and an average that a student learns from; DDP's copies of weights in bfloat16.
        activations: what a forward pass keeps.
        checkpointed: the same with activation checkpointing.
    """

    name: str
    engine: str
    gpus: int
    batch: int
    weights: int
    gradients: int
    optimizer: int
    average: int
    frozen: int
    passing: int
    activations: int
    checkpointed: int

    @property
    def state(self) -> int:
        """All but activations."""
        own = self.weights + self.gradients + self.optimizer + self.average
        return own + self.frozen + self.passing

    @property
    def total(self) -> int:
        """Without activation checkpointing."""
        return self.state + self.activations

    @property
    def least(self) -> int:
        """With it."""
        return self.state + self.checkpointed


def plan_memory(recipe: Recipe, name: str, gpus: Sequence[int]) -> list[Memory]:
    """What a stage of a recipe takes on one of so many GPUs, by DDP and by FSDP.

    Raises:
        UsageError: the batch cannot be divided among so many.
    """
    config, context = recipe.trained[name], recipe.settings.tokenizer.context
    dtype = torch.float32 if config.precision == "float32" else torch.bfloat16
    task = task_on_meta(recipe, name, dtype)
    net, frozen = task.stage.net, NUMBER * sum(map(parameter_count, task.frozen))
    asked = NUMBER * parameter_count(net) if task.asks_average else 0
    largest = max(size for _, size in config.stretches(config.steps))
    judge = [one for key, (one, _) in task.learners(config).items() if key]  # none divides it
    beside = NUMBER * sum(map(parameter_count, judge))
    copied = sum(copied_bytes(one, dtype) for one in judge)
    kept: dict[int, list[Activations]] = {}
    found = []
    for count in gpus:
        batch = AbsentWorld(count).share(largest)
        if batch not in kept:
            phases = phase_costs(task, batch, context, config.micro_batch)
            kept[batch] = [one.activations for one in phases]
        for engine, parts, passing in (
            ("ddp", 1, copied_bytes(net, dtype)),
            ("fsdp", count, gathered_bytes(net, dtype) + asked),
        ):
            single = hidden_matrices(net) if config.optimizer == "muon" else []
            held = NUMBER * held_numbers(net.parameters(), parts)
            found.append(
                Memory(
                    name=name,
                    engine=engine,
                    gpus=count,
                    batch=min(batch, config.micro_batch or batch),
                    weights=held + beside,
                    gradients=held + beside,
                    optimizer=2 * (held + beside) - NUMBER * held_numbers(single, parts),
                    average=held,
                    frozen=frozen,
                    passing=passing + copied,
                    activations=max(one.kept for one in kept[batch]),
                    checkpointed=max(one.checkpointed for one in kept[batch]),
                )
            )
    return found


class AbsentWorld(World):
    """So many processes, none of which is there."""

    def __init__(self, size: int) -> None:
        self.size = size


def held_numbers(tensors: Iterable[Tensor], parts: int) -> int:
    """Numbers of some tensors that the first of so many processes holds."""
    return sum(
        math.ceil(len(one) / parts) * (one.numel() // len(one)) if one.ndim else 1
        for one in tensors
    )


def copied_bytes(net: nn.Module, dtype: torch.dtype) -> int:
    """Of the weights' copies that autocast makes, and the backward pass needs."""
    return 0 if dtype == torch.float32 else dtype.itemsize * parameter_count(net)


def gathered_bytes(net: nn.Module, dtype: torch.dtype) -> int:
    """Of what FSDP has whole at a time.

    That is all that is in no block, with its gradients, and two blocks, of which one computes and
    the next is fetched, with the gradients of one in float32.
    """
    blocks = [parameter_count(one) for one in sharded_units(net)]
    largest, rest = max(blocks, default=0), parameter_count(net) - sum(blocks)
    return 2 * dtype.itemsize * (rest + largest) + NUMBER * largest
