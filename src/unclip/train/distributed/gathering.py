"""Samples of all processes, for losses that compare them."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ...stages.comparing import Everyone
from ..world import World


class All(Everyone):
    """Who trains together; gradients come back to the process that a sample belongs to."""

    def __init__(self, world: World) -> None:
        self.rank = world.rank

    def gather(self, own: Tensor) -> Tensor:
        """See `Everyone`."""
        whole: Tensor = _Gathered.apply(own)  # type: ignore[no-untyped-call]
        return whole


class _Gathered(torch.autograd.Function):
    """(B, ...) of each process -> (world B, ...); on the way back what all say of it is added up.

    PyTorch's torch.distributed.nn.functional.all_gather is deprecated.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        own = own.contiguous()
        every = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(every, own)
        return torch.cat(every)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        every = [one.contiguous() for one in grad.chunk(dist.get_world_size())]
        own = torch.empty_like(every[0])
        dist.reduce_scatter(own, every)
        return own
