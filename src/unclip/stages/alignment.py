"""Representation alignment: what a network's middle is told of what CLIP sees."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn import functional as F


def misalignment(head: nn.Module, features: Tensor, patches: Tensor) -> Tensor:
    """(B,) mean of 1 - cos between a network's features and a frozen CLIP's, place by place.

    Representation alignment (REPA, arXiv 2410.06940, eq. 8): what a place shall show is told to
    the middle of the network long before its pixels say so.

    Args:
        head: (..., C) -> (..., W').
        features: (B, C, h, w).
        patches: (B, P, W'), a square of patches row by row.
    """
    side = math.isqrt(patches.shape[1])
    there = patches.detach().transpose(1, 2)
    there = there.reshape(*there.shape[:2], side, side)  # (B, W', side, side)
    if side != features.shape[-1]:
        there = F.interpolate(there.float(), features.shape[-2:], mode="area")
    own = head(features.permute(0, 2, 3, 1))  # (B, h, w, W')
    cosine = F.cosine_similarity(own.float(), there.permute(0, 2, 3, 1).float(), dim=-1)
    return 1 - cosine.flatten(1).mean(1)


@contextmanager
def outputs_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    """What a layer gives in each call within the block."""
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _given, out: seen.append(out))
    try:
        yield seen
    finally:
        handle.remove()


def spatial_norm(patches: Tensor, share: float) -> Tensor:
    """(B, P, W') patch features of variance 1 over a picture, less a share of their mean over it.

    What a whole picture has in common drowns what tells its places apart (iREPA, arXiv 2512.10794).
    """
    mean = patches.mean(1, keepdim=True)
    return (patches - share * mean) / (patches.std(1, keepdim=True) + 1e-6)
