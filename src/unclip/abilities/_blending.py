"""Where a painted part of a picture meets the part that is kept."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from ..diffusion.border import spread

FEATHER = 32
"""A jump at the border is gone within this part of a picture's side: 8 pixels of 256."""

CELL = 128
"""The part of a large picture that is painted is cut out along such a grid of pixels."""


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
    if not mask.any():
        return known.clone()
    width = max(known.shape[-2:]) // FEATHER
    painted = painted + spread(known - painted, 1 - mask)
    rows, columns = _around(mask.amax((0, 1, 3))), _around(mask.amax((0, 1, 2)))
    out = torch.where(mask > 0, painted, known)
    part = out[..., rows, columns]  # all around it is kept: what is farther off changes nothing
    known, mask = known[..., rows, columns], mask[..., rows, columns]
    kept = 1 - mask
    beside, valid = _neighbours(known, kept)
    border = (valid > 0).to(mask.dtype) * mask
    part += spread(beside - part, border) * (_fade(kept, width) * mask)
    return out


def _around(painted: Tensor) -> slice:
    """From before the first place where there is something to after the last.

    Between multiples of `CELL`, so that the means of `spread` are those of the whole picture.
    """
    places = painted.nonzero()
    first, last = int(places[0]) - 1, int(places[-1]) + 1
    return slice(max(first // CELL * CELL, 0), (last // CELL + 1) * CELL)


def _neighbours(values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of those of a pixel's four neighbours that are there, and how many they are."""
    count = _cross(valid)
    return _cross(values * valid) / count.clamp(min=1), count


def _cross(values: Tensor) -> Tensor:
    """The sum of a pixel's four neighbours."""
    total = torch.zeros_like(values)
    total[..., 1:, :] += values[..., :-1, :]
    total[..., :-1, :] += values[..., 1:, :]
    total[..., 1:] += values[..., :-1]
    total[..., :-1] += values[..., 1:]
    return total


def _fade(kept: Tensor, width: int) -> Tensor:
    """1 beside what is kept, and evenly less down to 0 after `width` pixels (at least one).

    By the larger of the two distances, across and down, which one sweep down and one up find
    (Rosenfeld and Pfaltz, Distance functions on digital pictures, 1968).
    """
    steps = max(width, 1)
    left = (steps + 1 - _across(kept)).clamp_(min=0)  # (B, 1, H, W): steps left to go from there
    rows = left.squeeze(1).unbind(1)  # H views of (B, W)
    for order in (rows, rows[::-1]):
        for before, row in pairwise(order):
            torch.maximum(row, F.max_pool1d(before, 3, 1, 1).sub_(1), out=row)
    return left.clamp_(max=steps).div_(steps).to(kept.dtype)


def _across(kept: Tensor) -> Tensor:
    """How many pixels it is to the next that is kept in the same row, to either side."""
    place = torch.arange(kept.shape[-1], device=kept.device, dtype=torch.float32)
    left = torch.where(kept > 0, place, -torch.inf).cummax(-1).values
    right = torch.where(kept > 0, place, torch.inf).flip(-1).cummin(-1).values.flip(-1)
    return torch.minimum(place - left, right - place)
