"""Painting the unknown part of a picture of any size, window by window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..media import from_uint8, to_uint8
from ..pipeline import Chain
from ..request import Guided
from ..types import Cond, OnStep
from ._blending import blended


@dataclass(frozen=True)
class Window:
    """A part of a canvas: its corner and its size, in pixels. It may reach over the edge."""

    x: int
    y: int
    height: int
    width: int

    def of(self, canvas: Tensor, outside: float) -> Tensor:
        """(B, C, height, width) of a (B, C, H, W) canvas; `outside` stands beyond its edge."""
        height, width = canvas.shape[-2:]
        beyond = (-self.x, self.x + self.width - width, -self.y, self.y + self.height - height)
        padded = F.pad(canvas, [max(0, one) for one in beyond], value=outside)
        x, y = max(0, self.x), max(0, self.y)
        return padded[..., y : y + self.height, x : x + self.width]

    def put(self, canvas: Tensor, piece: Tensor) -> None:
        """Write (B, C, height, width) into the canvas, as far as it lies within."""
        height, width = canvas.shape[-2:]
        x0, y0 = max(0, self.x), max(0, self.y)
        x1, y1 = min(width, self.x + self.width), min(height, self.y + self.height)
        canvas[..., y0:y1, x0:x1] = piece[..., y0 - self.y : y1 - self.y, x0 - self.x : x1 - self.x]


@dataclass(frozen=True)
class Brush:
    """What to paint and how: with the prompts, prior and settings of a request."""

    request: Guided
    prior: str | None = None
    on_step: OnStep | None = None

    def read(self, pipe: Chain) -> Cond:
        """The condition (1, ...)."""
        prompt: str = self.request.prompt  # type: ignore[attr-defined]
        return pipe.read_prompt(prompt, self.request.negative_prompt, self.prior)


def paint(
    pipe: Chain,
    canvas: Tensor,
    mask: Tensor,
    windows: list[Window],
    seeds: range,
    brush: Brush,
) -> Iterator[Image.Image]:
    """Paint where `mask` (1, 1, H, W) is 1, one window after the other, one picture a seed.

    What is not painted comes back as it was, to the byte: pictures are put together as integers.
    What is painted is brought to the level of what it borders on.

    Args:
        canvas: (1, 3, H, W) uint8, or one a seed.
        windows: those without a pixel to paint are passed over.
    """
    canvas, left = canvas.expand(len(seeds), -1, -1, -1).clone(), mask.clone()
    for index, window in enumerate(windows):
        inside = window.of(left, 1.0)
        if not window.of(left, 0.0).any():
            continue
        names = [f"{seed}/window{index}" for seed in seeds] if index else list(seeds)
        known = from_uint8(window.of(canvas, 127))
        piece = blended(_paint_window(pipe, known, inside, names, brush), known, inside)
        window.put(canvas, torch.where(inside.bool(), to_uint8(piece), window.of(canvas, 127)))
        window.put(left, torch.zeros_like(inside))
    for one in canvas.permute(0, 2, 3, 1):
        yield Image.fromarray(one.cpu().numpy())


def _paint_window(
    pipe: Chain, known: Tensor, mask: Tensor, seeds: Sequence[int | str], brush: Brush
) -> Tensor:
    """(n, 3, h, w) float of `known` (n, 3, h, w) and `mask` (1, 1, h, w)."""
    size = pipe.model.size
    # what is hidden must not shine through where pixels are averaged: the mean of what is known
    kept = 1 - mask
    mean = (known * kept).sum((2, 3), True) / kept.sum().clamp(min=1)
    known = _resize(known * kept + mean * mask, size).to(pipe.device)
    shown = (_resize(mask, size) > 0).float().to(pipe.device)
    cond = brush.read(pipe).replace(mask=shown).expand(len(seeds)).replace(known=known)
    settings = brush.request.settings
    drawn = pipe.sample(cond, seeds, settings=settings, on_step=brush.on_step, prior=brush.prior)
    return _resize(drawn.cpu(), mask.shape[-2:])


def _resize(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """(B, C, H, W) -> (B, C, *size), antialiased."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size, mode="bilinear", antialias=x.shape[-1] > size[-1])
