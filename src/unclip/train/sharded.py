"""Tensors of which each process may hold a part, and whole ones: the same to those who ask here.

A sharded tensor is PyTorch's DTensor. One that is not sharded is what it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def is_sharded(tensor: Tensor) -> bool:
    """Whether processes hold a part of it each."""
    return hasattr(tensor, "to_local")


def local(tensor: Tensor) -> Tensor:
    """The part that this process holds, in the same memory."""
    part: Any = tensor
    return part.to_local() if is_sharded(tensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of it; every process asks at the same time."""
    parts: Any = tensor
    return parts.full_tensor() if is_sharded(tensor) else tensor


def part_of(value: Tensor, like: Tensor) -> Tensor:
    """What this process holds of a whole value that is laid out as `like`."""
    if not is_sharded(like):
        return value
    mesh: Any = like.device_mesh  # type: ignore[attr-defined]
    parts, rank = value.chunk(mesh.size()), mesh.get_local_rank()  # as FSDP divides
    return parts[rank] if rank < len(parts) else value[:0]


@torch.no_grad()
def assign(like: Tensor, value: Tensor) -> Tensor:
    """Put a whole value into a tensor, sharded or not, and return that."""
    local(like).copy_(part_of(value, like))
    return like


@torch.no_grad()
def grad_norm(grads: Sequence[Tensor]) -> Tensor:
    """The norm () of gradients together, sharded or not."""
    parts = [one for one in grads if is_sharded(one)]
    if not parts:
        return nn.utils.get_total_norm(grads)
    wholes = [one for one in grads if not is_sharded(one)]
    norm = whole(nn.utils.get_total_norm(parts))
    return torch.hypot(norm, nn.utils.get_total_norm(wholes).to(norm.device))


@torch.no_grad()
def clip_grad_norm(parameters: Iterable[Tensor], most: float) -> Tensor:
    """Scale the gradients so that their norm () is at most `most`; the norm before that.

    It is on the parameters' device, and 0 where none has a gradient.
    """
    every = list(parameters)
    pairs = [(one, one.grad) for one in every if one.grad is not None]
    if not pairs:
        return torch.zeros((), device=every[0].device if every else None)
    if not any(is_sharded(one) for one, _ in pairs):
        return nn.utils.clip_grad_norm_([one for one, _ in pairs], most)
    grads = [grad for _, grad in pairs]
    norm = grad_norm(grads)
    held = [local(one) for one in grads]
    torch._foreach_mul_(held, (most / (norm + 1e-6)).clamp(max=1.0))
    return norm
