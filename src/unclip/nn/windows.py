"""A network run on windows of a large picture, so that its features never need more memory.

Each window is seen with as much around it as its pixels depend on: the result is that of the
network run on the whole picture, but for rounding, and no border is to be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .conditioning import Encoded
from .tiling import wraps

SIDE = 1024
"""Pixels of a window's side; pictures up to this size are drawn in one piece."""

Span = tuple[int, int]
"""First pixel, and the one after the last."""


@dataclass(frozen=True)
class Window:
    """A part of a picture and what is seen around it: spans down and across."""

    inner: tuple[Span, Span]
    outer: tuple[Span, Span]

    @property
    def seen(self) -> tuple[slice, slice]:
        """The place of what is seen, in the picture."""
        down, across = (slice(*span) for span in self.outer)
        return down, across

    @property
    def kept(self) -> tuple[slice, slice]:
        """The place of the part, in the picture."""
        down, across = (slice(*span) for span in self.inner)
        return down, across

    @property
    def kept_of_seen(self) -> tuple[slice, slice]:
        """The place of the part, in what is seen."""
        both = zip(self.inner, self.outer, strict=True)
        down, across = (slice(a - first, b - first) for (a, b), (first, _) in both)
        return down, across

    def shrunk(self, factor: int) -> Window:
        """The same window of a picture `factor` times as small, which divides its spans."""

        def of(spans: tuple[Span, Span]) -> tuple[Span, Span]:
            (top, bottom), (left, right) = spans
            return (top // factor, bottom // factor), (left // factor, right // factor)

        return Window(of(self.inner), of(self.outer))


def windows(size: Span, side: int, reach: int) -> Iterator[Window]:
    """What a picture of (height, width) is divided into, row by row."""
    lines = [
        [(a, min(a + side, length)) for a in range(0, length, side)] for length in size
    ]  # spans down, spans across
    for down in lines[0]:
        for across in lines[1]:
            both = zip((down, across), size, strict=True)
            top, left = ((max(0, a - reach), min(length, b + reach)) for (a, b), length in both)
            yield Window((down, across), (top, left))


def called(net: Any, x: Tensor, t: Tensor, encoded: Any) -> Tensor:
    """What a network makes of (B, ...) x: of a large picture in windows, if it sees no further.

    What is learnt, small, or wraps around is made in one piece, and so is what is no picture.
    """
    reach = getattr(getattr(net, "config", None), "reach", None)
    if reach is None or fits(x) or wraps():
        out: Tensor = net(x, t, encoded)
        return out
    unit = net.config.unit
    return in_windows(net, x, t, encoded, reach, SIDE // unit * unit)


def in_windows(net: Any, x: Tensor, t: Tensor, encoded: Encoded, reach: int, side: int) -> Tensor:
    """What `net` makes of a picture (B, C, H, W): see `conditioning.NetConfig`.

    Args:
        net: the network; its output has the size of its input.
        x, t, encoded: what it is called with.
        reach: pixels around a window that its pixels depend on, a multiple of the network's unit.
        side: of a window, a multiple of the unit too.
    """
    out: Tensor | None = None
    for window in windows((x.shape[2], x.shape[3]), side, reach):
        down, across = window.seen
        part: Tensor = net(x[:, :, down, across], t, cut(encoded, window))
        if out is None:
            out = part.new_empty(len(x), part.shape[1], *x.shape[2:])
        out[:, :, *window.kept] = part[:, :, *window.kept_of_seen]
    assert out is not None
    return out


def cut(encoded: Encoded, window: Window) -> Encoded:
    """A condition of which a window is seen: what has pixels is cut."""
    down, across = window.seen

    def seen(picture: Tensor | None) -> Tensor | None:
        return None if picture is None else picture[:, :, down, across]

    return replace(encoded, low_res=seen(encoded.low_res), known=seen(encoded.known))


def fits(x: Tensor) -> bool:
    """Whether a picture (B, C, H, W) is small enough for one piece, or is learnt from."""
    return max(x.shape[2:]) <= SIDE or torch.is_grad_enabled()
