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
        whole = own.new_empty(dist.get_world_size() * len(own), *own.shape[1:])
        dist.all_gather_into_tensor(whole, own.contiguous())
        return whole

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        own = grad.new_empty(len(grad) // dist.get_world_size(), *grad.shape[1:])
        dist.reduce_scatter_tensor(own, grad.contiguous())
        return own
