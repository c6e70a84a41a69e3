"""Masks of pictures: what is known, what is to be painted, what counts in a loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..rng import Rng
from ..types import Cond


def loss_counts(cond: Cond, x0: Tensor) -> Tensor | None:
    """(B, 1, H, W) how much each place of x0 counts in a loss; None: all do alike."""
    counts = cond.loss_mask
    if counts is not None and counts.shape[-2:] != x0.shape[-2:]:  # of latents
        counts = F.interpolate(counts, x0.shape[-2:], mode="area")
    return counts


def fit_known(cond: Cond, size: Sequence[int]) -> Cond:
    """`known` and `mask`, where they are given, brought to a stage's own (height, width).

    A pixel that holds anything to paint is painted.
    """
    if cond.known is None or cond.mask is None or cond.known.shape[-2:] == size:
        return cond
    mode = "area" if size[-1] < cond.known.shape[-1] else "nearest"
    known, mask = (F.interpolate(one, size, mode=mode) for one in (cond.known, cond.mask))
    return cond.replace(known=known, mask=(mask > 0).to(mask.dtype))


def random_mask(rng: Rng, size: Sequence[int], share: float) -> Tensor:
    """(B, 1, *size), 1 where to paint: for `share` of the samples a box or all but a box.

    The others are painted whole, so that one network inpaints and generates (GLIDE, section 4.1).
    """
    corner, extent = rng.rand(2), 0.2 + 0.6 * rng.rand(2)  # (B, 2), of the side
    start = (corner * (1 - extent))[:, :, None]
    end = start + extent[:, :, None]
    rows, columns = (
        (torch.arange(side, dtype=torch.float32, device=corner.device) + 0.5) / side
        for side in size
    )
    down = (rows >= start[:, 0]) & (rows < end[:, 0])  # (B, H)
    across = (columns >= start[:, 1]) & (columns < end[:, 1])  # (B, W)
    box = down[:, :, None] & across[:, None]  # (B, H, W)
    box = box ^ rng.bernoulli(0.5)[:, None, None]
    mask = box | ~rng.bernoulli(share)[:, None, None]
    return mask[:, None].float()
