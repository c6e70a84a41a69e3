"""Pictures that go on beyond their edges on the opposite side, so that copies of one fit together.

A convolution that pads with the opposite side in place of zeros commutes with rolling a picture
around; so does all else that a U-Net does, unless it is told where a pixel lies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ..types import OnStep, Step

REACH = 4
"""Pixels that bilinear and bicubic enlarging look at beyond an edge, and to spare."""


class Wrapping(TorchFunctionMode):
    """In this context, and thread, convolutions and enlargements of pictures wrap around.

    Networks stay as they are. What pads otherwise than with zeros is left alone.

    Args:
        axes: "x" joins the left and the right edge, "y" the upper and the lower; or both.
    """

    def __init__(self, axes: str) -> None:
        super().__init__()
        self.down, self.across = "y" in axes, "x" in axes
        self._idle = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """The same function, of a picture with a margin from its other side."""
        wrapped = None if self._idle else _WRAPPED.get(func)
        return (wrapped or func)(*((self,) if wrapped else ()), *args, **(kwargs or {}))

    def paused(self, on_step: OnStep) -> OnStep:
        """`on_step`, called within the context and run as if outside."""

        def outside(step: Step) -> None:
            self._idle = True
            try:
                on_step(step)
            finally:
                self._idle = False

        return outside

    def margin(self, x: Tensor, pads: Sequence[int]) -> tuple[Tensor, list[int]]:
        """(B, C, H, W) with a margin on the axes that wrap, and what is left to pad with zeros.

        `pads` are those of `F.pad`: left, right, top, bottom.
        """
        left = list(pads)
        for axis, first, wraps in ((3, 0, self.across), (2, 2, self.down)):
            before, after = left[first : first + 2]
            if wraps and (before or after):
                places = torch.arange(-before, x.shape[axis] + after, device=x.device)
                x = x.index_select(axis, places % x.shape[axis])
                left[first : first + 2] = 0, 0
        return x, left


@contextmanager
def wrapping(axes: str, on_step: OnStep | None = None) -> Iterator[OnStep | None]:
    """`Wrapping`, or nothing where no axis is named; gives `on_step`, to be called within it."""
    if not axes:
        yield on_step
        return
    before = _AXES.set(axes)
    try:
        with Wrapping(axes) as mode:
            yield mode.paused(on_step) if on_step else None
    finally:
        _AXES.reset(before)


_AXES: ContextVar[str] = ContextVar("axes", default="")


def wraps() -> bool:
    """Whether pictures wrap around here: then no part of one can be drawn by itself."""
    return bool(_AXES.get())


def _conv2d(
    wrap: Wrapping,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    *more: Any,
    **named: Any,
) -> Tensor:
    down, across = _pair(padding)
    x, (left, _, top, _) = wrap.margin(x, (across, across, down, down))
    return F.conv2d(x, weight, bias, stride, (top, left), *more, **named)


def _conv_transpose2d(
    wrap: Wrapping,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    *more: Any,
    **named: Any,
) -> Tensor:
    """Of a margin of one pixel, whose share of the output is cut away again."""
    (down, across), (high, wide) = _pair(padding), _pair(stride)
    rows, columns = int(wrap.down and down > 0), int(wrap.across and across > 0)
    x, _ = wrap.margin(x, (columns, columns, rows, rows))
    cut = (down + rows * high, across + columns * wide)
    return F.conv_transpose2d(x, weight, bias, stride, cut, *more, **named)


def _pad(
    wrap: Wrapping, x: Tensor, pad: Sequence[int], mode: str = "constant", value: Any = None
) -> Tensor:
    if x.ndim == 4 and len(pad) == 4 and mode == "constant" and not value:
        x, pad = wrap.margin(x, pad)
    return F.pad(x, pad, mode, value)


def _interpolate(wrap: Wrapping, x: Tensor, *args: Any, **named: Any) -> Tensor:
    """Enlarging by a whole factor, with a margin that is cut away again."""
    factor, smooth = named.get("scale_factor"), named.get("mode") in ("bilinear", "bicubic")
    if args or not smooth or not isinstance(factor, float) or factor < 1 or factor % 1:
        return F.interpolate(x, *args, **named)
    height, width = (int(factor) * side for side in x.shape[2:])
    x, _ = wrap.margin(x, (REACH,) * 4)
    large = F.interpolate(x, **named)
    top = (large.shape[2] - height) // 2
    left = (large.shape[3] - width) // 2
    return large[..., top : top + height, left : left + width]


def _pair(value: Any) -> tuple[int, int]:
    down, across = (value, value) if isinstance(value, int) else value
    return int(down), int(across)


_WRAPPED: Mapping[Callable[..., Any], Callable[..., Tensor]] = {
    torch.conv2d: _conv2d,
    F.conv_transpose2d: _conv_transpose2d,
    F.pad: _pad,
    F.interpolate: _interpolate,
}
