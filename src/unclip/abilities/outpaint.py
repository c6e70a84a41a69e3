"""A larger canvas around a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from ..errors import UsageError
from ..images import MAX_PIXELS, Source, digest, read_image
from ..request import Record, check_request, given
from ..types import OnStep
from .canvas import Brush, Window, paint
from .edit import as_tensor

if TYPE_CHECKING:
    from ..pipeline import Pipeline


def outpaint(
    pipe: Pipeline,
    image: Source,
    left: int = 0,
    right: int = 0,
    top: int = 0,
    bottom: int = 0,
    prompt: str = "",
    n: int = 1,
    seed: int = 0,
    on_step: OnStep | None = None,
    *,
    prior: str | None = None,
    **settings: Any,
) -> list[Image.Image]:
    """Grow the canvas and paint what is new, in windows that overlap by half.

    Args:
        image: a path, bytes, a file or a PIL picture; comes back byte for byte in its place.
        left, right, top, bottom: how many pixels to add on each side.
        prompt: what the whole picture shall show; must not be empty.
        n: how many; picture i uses `seed + i`.
        seed: any integer.
        on_step: as in `generate`.
        prior: as in `generate`.
        settings: as in `generate`.

    Raises:
        UsageError: nothing to add, a canvas too large, an empty prompt.
    """
    check_request(prompt, n)
    pipe.check_prior(prior)
    sides = {"left": left, "right": right, "top": top, "bottom": bottom}
    for name, pixels in sides.items():
        if pixels < 0:
            raise UsageError(f"{name} must be at least 0, got {pixels}")
    if not any(sides.values()):
        raise UsageError("nothing to paint: give left, right, top or bottom in pixels")
    picture = read_image(image)
    width, height = picture.width + left + right, picture.height + top + bottom
    if width * height > MAX_PIXELS:
        raise UsageError(f"a canvas of {width}x{height} is more than {MAX_PIXELS:,} pixels")
    canvas = torch.full((1, 3, height, width), 127, dtype=torch.uint8, device="cpu")
    mask = torch.ones(1, 1, height, width, dtype=torch.float32, device="cpu")
    place = (..., slice(top, top + picture.height), slice(left, left + picture.width))
    canvas[place] = as_tensor(picture)
    mask[place] = 0
    windows = windows_outward(width, height, min(picture.size), left, top, picture.size)
    brush = Brush(prompt, settings, prior, on_step)
    painted = paint(pipe, canvas, mask, windows, range(seed, seed + n), brush)
    record = Record(prompt, seed, {**given(settings), **sides})
    return pipe.sign(list(painted), record.made_by("outpaint", image=digest(picture)))


def windows_outward(
    width: int, height: int, side: int, left: int, top: int, inner: tuple[int, int]
) -> list[Window]:
    """Windows over a canvas, half a side apart, those nearest to the picture within it first."""
    side = min(side, width, height)
    centre = (left + inner[0] / 2, top + inner[1] / 2)

    def distance(window: Window) -> float:
        x, y = window.x + side / 2, window.y + side / 2
        return max(abs(x - centre[0]), abs(y - centre[1]))

    corners = [(x, y) for y in _starts(height, side, top) for x in _starts(width, side, left)]
    return sorted((Window(x, y, side) for x, y in corners), key=distance)


def _starts(length: int, side: int, begin: int) -> list[int]:
    """Where windows start along one axis: `begin`, steps of half a side both ways, both ends."""
    step = max(1, side // 2)
    last = length - side
    inner = range(begin % step, last + 1, step)
    return sorted({0, last, *inner})
