"""Where a painted part of a picture meets the part that is kept."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

FEATHER = 32
"""A jump at the border is gone within this part of a picture's side: 8 pixels of 256."""


def spread(values: Tensor, there: Tensor) -> Tensor:
    """Values that are known in places, carried on smoothly to all others.

    A pyramid of means ("push-pull", Gortler et al., The Lumigraph, 1996, section 3.4), which
    stands in for a membrane through them (Poisson image editing, Pérez et al., 2003): next to
    what is known it is that value, far away a mean of all. A constant stays that constant.

    Args:
        values: (B, C, H, W); what stands where they are not known does not matter.
        there: (1 or B, 1, H, W), 1 where they are known, else 0.

    Returns:
        (B, C, H, W), equal to `values` where they are known; 0 where nothing is.
    """
    height, width = values.shape[-2:]
    if min(height, width) == 1:
        total = (values * there).sum((-2, -1), keepdim=True)
        mean = total / there.sum((-2, -1), keepdim=True).clamp(min=1e-6)
        return torch.where(there > 0, values, mean)
    even = (0, width % 2, 0, height % 2)
    share = F.avg_pool2d(F.pad(there, even), 2)
    means = F.avg_pool2d(F.pad(values * there, even), 2) / share.clamp(min=1e-6)
    coarse = spread(means, (share > 0).to(share.dtype))
    fine = F.interpolate(coarse, scale_factor=2.0, mode="bilinear")[..., :height, :width]
    return torch.where(there > 0, values, fine)


def blended(painted: Tensor, known: Tensor, mask: Tensor) -> Tensor:
    """What was painted where `mask` is 1, brought to the level of what is kept around it.

    The difference to what is kept, where both are there, is carried on into the painted part:
    another tint vanishes. A jump that is left at the border fades within a few pixels of the
    painted side. Where there is no difference and no jump, nothing changes.

    Args:
        painted: (B, C, H, W), over the whole picture.
        known: (B, C, H, W).
        mask: (1 or B, 1, H, W), 1 where to paint, else 0.

    Returns:
        (B, C, H, W), equal to `known` where `mask` is 0.
    """
    kept = 1 - mask
    painted = painted + spread(known - painted, kept)
    beside, there = _neighbours(known, kept)
    border = (there > 0).to(mask.dtype) * mask
    fade = spread(beside - painted, border) * _fade(kept, max(known.shape[-2:]) // FEATHER)
    return torch.where(mask > 0, painted + fade, known)


def _neighbours(values: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of those of a pixel's four neighbours that are there, and how many they are."""
    cross = values.new_tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])[None, None]
    count = F.conv2d(there, cross, padding=1)
    flat = (values * there).flatten(0, 1)[:, None]  # (B·C, 1, H, W)
    total = F.conv2d(flat, cross, padding=1).view_as(values)
    return total / count.clamp(min=1), count


def _fade(kept: Tensor, width: int) -> Tensor:
    """1 beside what is kept, and evenly less down to 0 after `width` pixels (at least one)."""
    reached, steps = torch.zeros_like(kept), max(width, 1)
    for _ in range(steps):
        kept = F.max_pool2d(kept, 3, 1, 1)
        reached = reached + kept / steps
    return reached
