"""Gradients that no engine of PyTorch's averages."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from ..world import World


def average_gradients(parameters: Iterable[Tensor], world: World) -> None:
    """Of parameters that every process has whole; None counts as nothing where others have some."""
    every = [one for one in parameters if one.requires_grad]
    having = torch.tensor([one.grad is not None for one in every], dtype=torch.uint8)
    if len(every):
        dist.all_reduce(having, dist.ReduceOp.MAX)
    for parameter, some in zip(every, having.tolist(), strict=True):
        if some:
            grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            dist.all_reduce(grad)
            parameter.grad = grad.div_(world.size)
