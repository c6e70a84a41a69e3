"""What an upsampler's small picture goes through in training, so that it mends real faults.

Designing a Practical Degradation Model for Deep Blind Image Super-Resolution (BSRGAN, arXiv
2103.14006, section 3): two blurs, resizing, noise and JPEG in a random order, then JPEG again.
DALL·E 2's second upsampler learnt with it (arXiv 2204.06125, section 2.1). The camera's noise of
that paper is left out, and JPEG keeps colours at their full size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from ..config import Config
from ..rng import Rng

Span = tuple[float, float]
"""Lowest and highest value."""


class Bsr(Config):
    """Settings of the degradation: what is drawn is even between two values."""

    share: float = Field(1.0, ge=0, le=1, description="of samples that are degraded")
    sigma: Span = Field((0.1, 2.0), description="of the blurs, in small pixels")
    scale: Span = Field((0.5, 1.0), description="that it is shrunk to, then enlarged again")
    noise: Span = Field((1 / 255, 25 / 255), description="standard deviation, of the range 0 to 1")
    quality: Span = Field((30.0, 95.0), description="of JPEG, 1 to 100")

    @model_validator(mode="after")
    def _spans_rise(self) -> Self:
        limits = {"sigma": (1e-3, 16), "scale": (0.05, 1), "noise": (0, 1), "quality": (1, 100)}
        for name, (least, most) in limits.items():
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise ValueError(
                    f"{name} must rise within {least:g} to {most:g}, got {low}, {high}"
                )
        return self


@torch.no_grad()
def degraded(image: Tensor, options: Bsr, rng: Rng) -> Tensor:
    """(B, 3, H, W) pictures, each degraded by its own draws; same shape, within [-1, 1]."""
    drawn, noise = rng.rand(len(_STEPS) + 11), rng.randn(*image.shape[1:])
    chosen = drawn[:, -1] < options.share
    rows = [
        _one(image[i : i + 1].float(), noise[i : i + 1], drawn[i].tolist(), options)
        if bool(chosen[i])
        else image[i : i + 1].float()
        for i in range(len(image))
    ]
    return torch.cat(rows).to(image.dtype)


def _one(image: Tensor, noise: Tensor, drawn: list[float], options: Bsr) -> Tensor:
    """One picture (1, 3, H, W), by numbers from 0 to 1."""
    order, rest = drawn[: len(_STEPS)], drawn[len(_STEPS) :]
    for index in sorted(range(len(_STEPS)), key=order.__getitem__):
        image = _STEPS[index](image, noise, rest, options).clamp(-1, 1)
    return jpeg(image, _between(options.quality, rest[7]))


def _between(span: Span, place: float) -> float:
    return span[0] + (span[1] - span[0]) * place


def _isotropic(image: Tensor, noise: Tensor, drawn: list[float], options: Bsr) -> Tensor:
    sigma = _between(options.sigma, drawn[0])
    return blurred(image, sigma, sigma, 0.0)


def _anisotropic(image: Tensor, noise: Tensor, drawn: list[float], options: Bsr) -> Tensor:
    along, across = (_between(options.sigma, drawn[i]) for i in (1, 2))
    return blurred(image, along, across, math.pi * drawn[3])


def _resized(image: Tensor, noise: Tensor, drawn: list[float], options: Bsr) -> Tensor:
    height, width = image.shape[2:]
    scale = _between(options.scale, drawn[4])
    small = [max(1, round(side * scale)) for side in (height, width)]
    down, up = (("area", "bilinear", "bicubic")[int(3 * one)] for one in _split(drawn[5]))
    return _resize(_resize(image, small, down), [height, width], up)


def _split(place: float) -> tuple[float, float]:
    """One number from 0 to 1 as two that do not depend on each other, of 3 even parts each."""
    nine = min(int(9 * place), 8)
    return nine // 3 / 3, nine % 3 / 3


def _resize(image: Tensor, size: list[int], mode: str) -> Tensor:
    smooth = {} if mode == "area" else {"antialias": True}
    return F.interpolate(image, size, mode=mode, **smooth)


def _noisy(image: Tensor, noise: Tensor, drawn: list[float], options: Bsr) -> Tensor:
    """The same in all channels, or in each its own: two fifths and three, as the paper has it."""
    grey = drawn[8] < 0.4
    own = noise.mean(1, keepdim=True) * 3**0.5 if grey else noise
    return image + 2 * _between(options.noise, drawn[6]) * own


def _compressed(image: Tensor, noise: Tensor, drawn: list[float], options: Bsr) -> Tensor:
    return jpeg(image, _between(options.quality, drawn[9]))


_STEPS: tuple[Callable[[Tensor, Tensor, list[float], Bsr], Tensor], ...] = (
    _isotropic,
    _anisotropic,
    _resized,
    _noisy,
    _compressed,
)
"""What is done in a random order."""


def blurred(image: Tensor, along: float, across: float, angle: float) -> Tensor:
    """(B, C, H, W) through a Gaussian with two deviations, edges repeated.

    Args:
        image: of any range.
        along: standard deviation along the direction `angle`, in pixels.
        across: that at right angles to it.
        angle: from the x axis towards the y axis, which points down.
    """
    reach = max(1, math.ceil(3 * max(along, across)))
    place = torch.arange(-reach, reach + 1, dtype=torch.float32, device=image.device)
    y, x = torch.meshgrid(place, place, indexing="ij")
    cos, sin = math.cos(angle), math.sin(angle)
    far = ((cos * x + sin * y) / along) ** 2 + ((cos * y - sin * x) / across) ** 2
    kernel = torch.exp(-far / 2)
    kernel = (kernel / kernel.sum()).to(image.dtype)
    padded = F.pad(image, (reach,) * 4, mode="replicate")
    channels = image.shape[1]
    return F.conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)


def jpeg(image: Tensor, quality: float) -> Tensor:
    """(B, 3, H, W) in [-1, 1] as JPEG (ITU-T T.81) of a quality from 1 to 100 gives it back.

    Quantised with the tables of its annex K, scaled as libjpeg does; no colour is halved in size.
    """
    height, width = image.shape[2:]
    pixels = ((image.float() + 1) * 127.5).round()
    x = torch.einsum("cd,bdhw->bchw", _to_ycc(image.device), pixels).round()  # Cb, Cr around 0
    x = x - torch.tensor([128.0, 0, 0], device=image.device).view(1, 3, 1, 1)
    x = F.pad(x, (0, -width % 8, 0, -height % 8), mode="replicate")
    blocks = x.unflatten(3, (-1, 8)).unflatten(2, (-1, 8))  # type: ignore[no-untyped-call]
    dct, table = _dct(image.device), _tables(image.device, quality)  # (8, 8), (3, 8, 8)
    spectrum = torch.einsum("uy,bciyjx,vx->bcijuv", dct, blocks, dct)
    table = table[None, :, None, None]
    spectrum = (spectrum / table).round() * table
    back = torch.einsum("uy,bcijuv,vx->bciyjx", dct, spectrum, dct).flatten(4).flatten(2, 3)
    back = back[..., :height, :width].round()
    back = back + torch.tensor([128.0, 0, 0], device=image.device).view(1, 3, 1, 1)
    rgb = torch.einsum("cd,bdhw->bchw", torch.linalg.inv(_to_ycc(image.device)), back)
    return (rgb.round().clamp(0, 255) / 127.5 - 1).to(image.dtype)


@cache
def _to_ycc(device: torch.device) -> Tensor:
    """(3, 3): red, green, blue -> Y, Cb, Cr (JFIF), the last two around 0."""
    rows = [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
    return torch.tensor(rows, device=device)


@cache
def _dct(device: torch.device) -> Tensor:
    """(8, 8) orthonormal DCT-II: row u holds frequency u."""
    place = torch.arange(8, dtype=torch.float32, device=device)
    matrix = torch.cos(math.pi / 8 * place[:, None] * (place + 0.5)) / 2
    matrix[0] /= 2**0.5
    return matrix


_LUMINANCE = """
16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56
14 17 22 29 51 87 80 62  18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92
49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99
"""
_CHROMINANCE = """
17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99
47 66 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99
99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99
"""


def _tables(device: torch.device, quality: float) -> Tensor:
    """(3, 8, 8) what Y, Cb and Cr are divided by."""
    each = [list(map(float, text.split())) for text in (_LUMINANCE, _CHROMINANCE, _CHROMINANCE)]
    base = torch.tensor(each, device=device).view(3, 8, 8)
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    return ((base * scale + 50) / 100).floor().clamp(1, 255)
