"""Extend a picture beyond its edges.

The picture itself stays the same to the byte.

\b
Examples:
  unclip outpaint fox.png --left 64 --right 64 "a fox"
  unclip outpaint fox.png --top 128 "a fox in the rain" -n 4 -o foxes/
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, ParamSpec, Self, TypeVar, Unpack, cast

from PIL import Image
from pydantic import Field, model_validator

from ..arguments import MOST
from ..cost import Work
from ..errors import UsageError
from ..media import MAX_PIXELS, Source, digest, read_image
from ..request import Decoder, Guided, Option, Picture, Pictures, Prior, Prompt
from ..weighting import further
from . import Ability
from ._drawing import attach_record, check_request, chosen
from ._settings import SamplingSettings
from ._several import each_prompt
from .edit import as_tensor, largest

if TYPE_CHECKING:
    from ..pipeline import Chain
    from ..types import OnStep
    from ._canvas import Window


Pixels = Annotated[
    int,
    Field(ge=0, le=MOST, description="Pixels to add on this side."),
    Option(metavar="PIXELS"),
]


class OutpaintRequest(Guided):
    """See `outpaint`."""

    ability: ClassVar[str] = "outpaint"
    image: Picture
    left: Pixels = 0
    right: Pixels = 0
    top: Pixels = 0
    bottom: Pixels = 0
    prompt: Prompt
    n: Pictures = 1
    prior: Prior = None
    decoder: Decoder = None

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if not (self.left or self.right or self.top or self.bottom):
            raise ValueError("nothing to paint: give left, right, top or bottom in pixels")
        return self

    def canvas(self, inner: tuple[int, int]) -> tuple[int, int]:
        """(height, width) around a picture of `inner`. Raises UsageError where too large."""
        height, width = inner[0] + self.top + self.bottom, inner[1] + self.left + self.right
        if width * height > MAX_PIXELS:
            raise UsageError(f"a canvas of {width}x{height} is more than {MAX_PIXELS:,} pixels")
        return height, width

    def work(self, inner: tuple[int, int], drawn: tuple[int, int]) -> Work:
        """As many drawings of a model's size as windows, at most, around a picture of `inner`."""
        size = self.canvas(inner)
        height, width = largest(drawn, inner)
        count = self.n * _count(size[0], height, self.top) * _count(size[1], width, self.left)
        more = count * further(self.prompt)
        work = Work(self.n, self.settings, count, prior_runs=count, further=more)
        return replace(work, size=size, inpaints=True)


P = ParamSpec("P")
R = TypeVar("R")

OLDER = ("left", "right", "top", "bottom", "prompt", "n", "seed", "on_step")
"""The order of arguments after the picture, where the first is a number."""


def _also_older(function: Callable[P, R]) -> Callable[P, R]:
    """Take arguments by position in the `OLDER` order too."""

    @wraps(function)
    def either(pipe: Any, image: Any, *given: Any, **named: Any) -> R:
        call: Callable[..., R] = function
        if not given or not hasattr(given[0], "__index__"):
            return call(pipe, image, *given, **named)
        older = dict(zip(OLDER, given, strict=False))
        return call(pipe, image, *given[len(OLDER) :], **older, **named)

    return cast(Callable[P, R], either)


@_also_older
@each_prompt(OutpaintRequest)
def outpaint(
    pipe: Chain,
    image: Source,
    prompt: str | Sequence[str] = "",
    left: int = 0,
    right: int = 0,
    top: int = 0,
    bottom: int = 0,
    n: int = 1,
    seed: int = 0,
    on_step: OnStep | None = None,
    *,
    prior: str | None = None,
    decoder: str | None = None,
    negative_prompt: str = "",
    **settings: Unpack[SamplingSettings],
) -> list[Image.Image]:
    """Grow the canvas and paint what is new, in windows that overlap by half.

    Args:
        image: a path, bytes, a file or a PIL picture; comes back byte for byte in its place.
        prompt: what the whole picture shows; must not be empty; or a list, as in `generate`.
        left, right, top, bottom: how many pixels to add on each side.
        n, seed: how many; picture i uses `seed + i`.
        on_step, prior, decoder, negative_prompt, settings: as in `generate`.

    Raises:
        UsageError: nothing to add, a canvas too large, an empty prompt.
    """
    import torch

    from ._canvas import Brush, paint

    asked = {"prior": prior, "decoder": decoder, "negative_prompt": negative_prompt}
    sides = {"left": left, "right": right, "top": top, "bottom": bottom}
    request = OutpaintRequest.of(
        image=image, prompt=prompt, n=n, seed=seed, settings=settings, **sides, **asked
    )
    left, top, seed = request.left, request.top, request.seed
    pipe = chosen(pipe, request)
    picture = read_image(image)
    inner = picture.height, picture.width
    size = request.canvas(inner)
    check_request(pipe, request, request.work(inner, pipe.model.size), on_step)
    canvas = torch.full((1, 3, *size), 127, dtype=torch.uint8, device="cpu")
    mask = torch.ones(1, 1, *size, dtype=torch.float32, device="cpu")
    place = (..., slice(top, top + picture.height), slice(left, left + picture.width))
    canvas[place] = as_tensor(picture)
    mask[place] = 0
    windows = windows_outward(size, inner, (top, left), pipe.model.size)
    brush = Brush(request, request.prior, on_step)
    painted = paint(pipe, canvas, mask, windows, range(seed, seed + request.n), brush)
    return attach_record(pipe, list(painted), request.record(image=digest(picture)))


def windows_outward(
    size: tuple[int, int], inner: tuple[int, int], corner: tuple[int, int], drawn: tuple[int, int]
) -> list[Window]:
    """Windows over a canvas, half a window apart, those nearest to the picture within it first.

    Args:
        size: (height, width) of the canvas.
        inner: (height, width) of the picture.
        corner: (top, left) of the picture.
        drawn: (height, width) that a model draws: the proportions of windows.
    """
    from ._canvas import Window

    (top, left), (height, width) = corner, largest(drawn, inner)
    centre = (left + inner[1] / 2, top + inner[0] / 2)

    def distance(window: Window) -> float:
        x, y = window.x + width / 2, window.y + height / 2
        return max(abs(x - centre[0]) * height, abs(y - centre[1]) * width)

    rows, columns = _starts(size[0], height, top), _starts(size[1], width, left)
    return sorted((Window(x, y, height, width) for y in rows for x in columns), key=distance)


def _starts(length: int, window: int, begin: int) -> list[int]:
    """Where windows start along one axis: `begin`, steps of half a window both ways, both ends."""
    return sorted({0, length - window, *_inner(length, window, begin)})


def _inner(length: int, window: int, begin: int) -> range:
    step = max(1, window // 2)
    return range(begin % step, length - window + 1, step)


def _count(length: int, window: int, begin: int) -> int:
    """How many `_starts` there are, without a list of them."""
    inner = _inner(length, window, begin)
    return len(inner) + sum(end not in inner for end in {0, length - window})


ABILITY = Ability(OutpaintRequest, outpaint, frozenset({"prompt"}))
