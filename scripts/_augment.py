"""What a generator does to a drawing that is still the same drawing: blur, rims, noise, wobble."""

from __future__ import annotations

import io
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from unclip.media import read_image, to_pictures, to_tensor

Change = Callable[[Tensor, torch.Generator], Tensor]


def augment(images: Tensor, boxes: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Spoil pictures a little, each in its own way, never so that they show something else.

    Args:
        images: (B, 3, S, S) in 0..1.
        boxes: (B, N, 4) as x, y, width, height in 0..1; what moves a picture moves them.

    Returns: pictures and boxes of the same shapes.
    """
    images, boxes = _moved(images, boxes, rng)
    images = _some(images, _coarse, 0.4, rng)
    images = _some(images, _blurred, 0.2, rng)
    images = _some(images, _rimmed, 0.2, rng)
    images = _some(images, _jpeg, 0.25, rng)
    gain = 1 + 0.08 * _centred(rng, len(images), 3, 1, 1)
    shift = 0.5 - 0.5 * gain + 0.04 * _centred(rng, len(images), 3, 1, 1)
    images = images * gain + shift
    return _some(images, _noisy, 0.4, rng).clamp(0, 1), boxes


def _centred(rng: torch.Generator, *shape: int) -> Tensor:
    """Uniform on -1..1."""
    return torch.rand(shape, generator=rng) * 2 - 1


def _some(images: Tensor, change: Change, share: float, rng: torch.Generator) -> Tensor:
    """Change a share of the pictures, chosen one by one."""
    chosen = (torch.rand(len(images), generator=rng) < share).nonzero()[:, 0]
    if len(chosen):
        images[chosen] = change(images[chosen], rng)
    return images


def _moved(images: Tensor, boxes: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Shift, scale and bend: the picture at u shows what was at u · scale + shift + wobble(u)."""
    count, _, side, _ = images.shape
    scale = 1 + 0.06 * _centred(rng, count, 1) + 0.03 * _centred(rng, count, 2)  # (B, 2)
    shift = 0.06 * _centred(rng, count, 2)
    line = (torch.arange(side) + 0.5) / side * 2 - 1
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)  # (S, S, 2)
    grid = grid * scale[:, None, None] + shift[:, None, None]
    wobble = F.interpolate(
        0.025 * torch.randn(count, 2, 6, 6, generator=rng), side, mode="bicubic"
    ).permute(0, 2, 3, 1)
    wobble = wobble * (torch.rand(count, 1, 1, 1, generator=rng) < 0.6)
    moved = F.grid_sample(images, grid + wobble, padding_mode="border", align_corners=False)
    corner = (boxes[..., :2] * 2 - 1 - shift[:, None]) / scale[:, None]
    return moved, torch.cat([(corner + 1) / 2, boxes[..., 2:] / scale[:, None]], -1)


def _coarse(images: Tensor, rng: torch.Generator) -> Tensor:
    """As if drawn at a third to two thirds of the size and enlarged."""
    side = images.shape[-1]
    small = int(side * (0.33 + 0.34 * float(torch.rand((), generator=rng))))
    down = F.interpolate(images, small, mode="area")
    return F.interpolate(down, side, mode="bicubic", align_corners=False)


def _blurred(images: Tensor, rng: torch.Generator) -> Tensor:
    """Averaged over 3 x 3 pixels, twice."""
    for _ in range(2):
        images = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return images


def _rimmed(images: Tensor, rng: torch.Generator) -> Tensor:
    """Sharpened so much that edges get a rim."""
    return images + (images - _blurred(images, rng)) * 0.8


def _noisy(images: Tensor, rng: torch.Generator) -> Tensor:
    strength = 0.06 * torch.rand(len(images), 1, 1, 1, generator=rng)
    return images + torch.randn(images.shape, generator=rng) * strength


def _jpeg(images: Tensor, rng: torch.Generator) -> Tensor:
    """Written as JPEG and read back, each at a quality of its own."""
    back = []
    for picture in to_pictures(images * 2 - 1):
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=int(torch.randint(30, 85, (), generator=rng)))
        back.append(read_image(stream.getvalue()))
    return (to_tensor(back) + 1) / 2
