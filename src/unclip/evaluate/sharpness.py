"""How sharp and how saturated pictures are: what a blurred or an overdriven one shows at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..media.measures import laplacian_energy, saturated_share
from .image_set import ImageSet, OnProgress

SIDE = 256
"""Larger pictures are averaged down to this longer side: models of several sizes then compare."""
BATCH = 16


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
