"""How sharp and how saturated pictures are: what a blurred or an overdriven one shows at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .image_set import ImageSet, OnProgress

SIDE = 256
"""Larger pictures are averaged down to this longer side: models of several sizes then compare."""
SATURATED = 0.98
"""A value in [-1, 1] beyond this is saturated: the outermost three of 256 levels at either end."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""
BATCH = 16


def laplacian_energy(images: Tensor) -> Tensor:
    """The mean square of luma's Laplacian, of (B, 3, H, W) in [-1, 1]: (B,).

    The energy of Laplacian, a measure of focus (Pertuz, Puig & Garcia, Pattern Recognition 46
    (2013), 1415-1432), with the kernel of four neighbours. White noise of variance s has 20 s.
    Pictures of one size compare with each other, and of one kind: a photograph of grass has more
    than one of the sky.
    """
    luma = (images * images.new_tensor(LUMA)[:, None, None]).sum(1)  # (B, H, W)
    across = luma[:, 1:-1, 2:] + luma[:, 1:-1, :-2]
    along = luma[:, 2:, 1:-1] + luma[:, :-2, 1:-1]
    return (across + along - 4 * luma[:, 1:-1, 1:-1]).square().mean((1, 2))


def saturated_share(images: Tensor) -> Tensor:
    """The share of values beyond `SATURATED`, of (B, 3, H, W) in [-1, 1]: (B,)."""
    return (images.abs() > SATURATED).float().mean((1, 2, 3))


def measure(images: ImageSet, on_progress: OnProgress | None = None) -> dict[str, list[float]]:
    """`energy` and `saturated` of every picture, at `SIDE` or their own smaller size."""
    found = [torch.zeros(2, 0)]
    for batch in images.batches(BATCH, on_progress):
        small = _averaged(batch)
        found.append(torch.stack([laplacian_energy(small), saturated_share(small)]))
    energy, saturated = torch.cat(found, dim=1).tolist()
    return {"energy": energy, "saturated": saturated}


def _averaged(images: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    scale = SIDE / max(height, width, SIDE)
    return F.interpolate(images, (round(scale * height), round(scale * width)), mode="area")
