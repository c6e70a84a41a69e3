"""Pictures as tensors, float32 in [-1, 1], and back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UsageError

if TYPE_CHECKING:  # imported late: a command finds a bad picture before torch loads
    from torch import Tensor


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """B pictures of one size -> (B, 3, H, W) float32 in [-1, 1].

    Raises:
        UsageError: no pictures, or different sizes.
    """
    sizes = {image.size for image in images}
    if len(sizes) != 1:
        found = " and ".join(sorted(f"{w}x{h}" for w, h in sizes)) or "none"
        raise UsageError(f"pictures must have the same size, got {found}")
    return from_arrays([np.asarray(image.convert("RGB")) for image in images]).contiguous()


def to_pictures(image: Tensor) -> list[Image.Image]:
    """(B, 3, H, W), clamped to [-1, 1] -> B pictures. Undoes `to_tensor` exactly."""
    pixels = to_uint8(image).permute(0, 2, 3, 1).cpu()
    return [Image.fromarray(one) for one in np.asarray(pixels)]


def from_arrays(pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
    """B arrays (H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1], channels_last."""
    import torch

    return from_uint8(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2))


def from_uint8(pixels: Tensor) -> Tensor:
    """0 to 255 -> float32 in [-1, 1], same shape."""
    return pixels.float() / 127.5 - 1


def to_uint8(image: Tensor) -> Tensor:
    """[-1, 1] -> 0 to 255, same shape. Undoes `from_uint8` exactly."""
    return ((image.float().clamp(-1, 1) + 1) * 127.5).round().byte()


def mask_tensor(mask: Image.Image) -> Tensor:
    """A mask -> (1, 1, H, W) float32: 1 where it is white (>= 128), 0 elsewhere."""
    import torch

    return torch.from_numpy(np.asarray(mask.convert("L")) >= 128).float()[None, None]


def digest(image: Image.Image) -> str:
    """A digest of a picture's pixels and size, 12 hexadecimal digits."""
    head = f"{image.width}x{image.height}:".encode()
    return hashlib.sha256(head + image.convert("RGB").tobytes()).hexdigest()[:12]
