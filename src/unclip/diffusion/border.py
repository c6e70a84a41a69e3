"""Extend values known at some pixels to all others."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def spread(values: Tensor, valid: Tensor) -> Tensor:
    """Extend values known at some pixels smoothly to all others.

    A pyramid of means ("push-pull", Gortler et al., The Lumigraph, 1996, section 3.4)
    approximates a membrane (Poisson image editing, Pérez et al., 2003): near known pixels the
    result is their value, far away the mean of all. A constant stays constant.

    Args:
        values: (B, C, H, W); ignored where they are not known.
        valid: (1 or B, 1, H, W), 1 where they are known, else 0.

    Returns:
        (B, C, H, W), equal to `values` where they are known; 0 if none are.
    """
    height, width = values.shape[-2:]
    if min(height, width) == 1:
        total = (values * valid).sum((-2, -1), keepdim=True)
        mean = total / valid.sum((-2, -1), keepdim=True).clamp(min=1e-6)
        return torch.where(valid > 0, values, mean)
    even = (0, width % 2, 0, height % 2)
    share = F.avg_pool2d(F.pad(valid, even), 2)
    means = F.avg_pool2d(F.pad(values * valid, even), 2) / share.clamp(min=1e-6)
    coarse = spread(means, (share > 0).to(share.dtype))
    fine = F.interpolate(coarse, scale_factor=2.0, mode="bilinear")[..., :height, :width]
    return torch.where(valid > 0, values, fine)
