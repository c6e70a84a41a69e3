"""Samples of all processes, for losses that compare them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.nn.functional import all_gather

from ...stages.comparing import Everyone
from ..world import World


class All(Everyone):
    """Who trains together; gradients come back to the process that a sample belongs to."""

    def __init__(self, world: World) -> None:
        self.rank = world.rank

    def gather(self, own: Tensor) -> Tensor:
        """See `Everyone`."""
        every: tuple[Tensor, ...] = all_gather(own.contiguous())  # type: ignore[no-untyped-call]
        whole = torch.cat(every)
        if whole.requires_grad:  # on the way back PyTorch reads memory as if it were contiguous
            whole.register_hook(torch.Tensor.contiguous)  # type: ignore[no-untyped-call]
        return whole
