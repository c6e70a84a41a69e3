"""Other views of a picture: a crop of it, perhaps mirrored, in other colours, blurred."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ...config import Config
from ...nn.layers import select
from ...rng import Rng

_RATIO = math.log(4 / 3)  # of a crop's sides, at most
_LUMA = (0.299, 0.587, 0.114)


class Augmentation(Config):
    """How far a view may be from its picture (SimCLR, arXiv 2002.05709, appendix A)."""

    area: float = Field(0.5, gt=0, le=1, description="least share of the picture that is kept")
    flip: float = Field(
        0.5, ge=0, le=1, description="share that is mirrored; 0 where captions say left or right"
    )
    colour: float = Field(
        0.4, ge=0, lt=1, description="most change of brightness, contrast and saturation"
    )
    grey: float = Field(0.2, ge=0, le=1, description="share without colour")
    blur: float = Field(0.5, ge=0, le=1, description="share that is blurred a little")


def augmented(image: Tensor, options: Augmentation, rng: Rng) -> Tensor:
    """A view of each of (B, 3, H, W) pictures in [-1, 1], by its own sample's draws alone."""
    x = (_cropped(image.float(), options, rng) + 1) / 2
    for blend in (torch.zeros_like, _mean, _grey):  # brightness, contrast, saturation
        strength = 1 + options.colour * (2 * rng.rand() - 1)
        x = torch.lerp(blend(x), x, strength.view(-1, 1, 1, 1)).clamp(0, 1)
    x = select(rng.bernoulli(options.grey), _grey(x), x)
    x = select(rng.bernoulli(options.blur), _blurred(x), x)
    return 2 * x - 1


def _cropped(image: Tensor, options: Augmentation, rng: Rng) -> Tensor:
    """A part of each picture, at the picture's size."""
    area = options.area + (1 - options.area) * rng.rand()
    ratio = (_RATIO * (2 * rng.rand() - 1)).exp()
    height, width = (area / ratio).sqrt().clamp(max=1), (area * ratio).sqrt().clamp(max=1)
    down, across = ((2 * rng.rand() - 1) * (1 - side) for side in (height, width))
    mirror = 1 - 2 * rng.bernoulli(options.flip).float()
    none = torch.zeros_like(area)
    rows = [torch.stack([width * mirror, none, across], 1), torch.stack([none, height, down], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=False)


def _mean(x: Tensor) -> Tensor:
    """Each picture's mean brightness, everywhere."""
    return _grey(x).mean((1, 2, 3), keepdim=True).expand_as(x)


def _grey(x: Tensor) -> Tensor:
    weights = x.new_tensor(_LUMA).view(1, 3, 1, 1)
    return (x * weights).sum(1, keepdim=True).expand_as(x)


def _blurred(x: Tensor) -> Tensor:
    """Every pixel with its eight neighbours, by binomial weights."""
    line = x.new_tensor([0.25, 0.5, 0.25])
    kernel = torch.outer(line, line).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=x.shape[1])
