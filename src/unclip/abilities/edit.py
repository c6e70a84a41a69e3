"""Repaint a part of a picture.

The rest stays the same to the byte.

\b
Examples:
  unclip edit fox.png --box 128,0,128,256 "a cat"   # the right half
  unclip edit plate.png --mask mask.png "a pizza" -n 4 --seed 7 -o pizzas/
  unclip edit holed.png "a fox"                     # where it is transparent
  unclip edit photos/ "a cat" --box 0,0,128,128 -o edited/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, Unpack

import numpy as np
from PIL import Image
from pydantic import BeforeValidator, Field, model_validator

from ..config import shown
from ..cost import Work
from ..errors import UsageError
from ..media import Source, digest, mask_tensor, read_image, read_image_and_mask
from ..request import Decoder, Guided, Input, Option, Picture, Pictures, Prior, Prompt
from ..weighting import further
from . import Ability
from ._drawing import attach_record, check_request, chosen
from ._settings import SamplingSettings
from ._several import each_prompt

if TYPE_CHECKING:
    from torch import Tensor

    from ..pipeline import Chain
    from ..types import OnStep
    from ._canvas import Window


def _four(box: Any) -> Any:
    if not (isinstance(box, tuple) and len(box) == 4):
        raise UsageError(f"box must be left, top, width and height in pixels, got {shown(box)}")
    return box


Box = Annotated[tuple[int, int, int, int], BeforeValidator(_four)]


class EditRequest(Guided):
    """See `edit`."""

    ability: ClassVar[str] = "edit"
    image: Picture
    mask: Annotated[Input, Option(metavar="MASK", default="IMAGE's own alpha channel")] = Field(
        None,
        description="A picture of the same proportions: transparent where to paint, or, without "
        "an alpha channel, white there.",
    )
    box: Annotated[Box | None, Option(metavar="LEFT,TOP,WIDTH,HEIGHT", example="128,0,128,256")] = (
        Field(None, description="A rectangle to paint in place of a mask, in pixels of IMAGE.")
    )
    prompt: Prompt
    n: Pictures = 1
    prior: Prior = None
    decoder: Decoder = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.box is not None and self.mask is not None:
            raise UsageError("box and mask both say where to paint: give one of them")
        return self

    def check_inputs(self) -> None:
        """The mask too, and that the box lies within."""
        self.read()

    def read(self) -> tuple[Image.Image, Image.Image]:
        """The picture, and where to paint. Raises UsageError."""
        if self.box is None:
            return read_image_and_mask(self.image, self.mask)
        picture = read_image(self.image)
        return picture, _rectangle(self.box, (picture.height, picture.width))

    def lacking(self, inputs: Mapping[str, Any]) -> str:
        """The mask, if there is neither a box nor a mask in the picture."""
        text = super().lacking(inputs)
        if not text or self.box is not None or self._has_own_mask():
            return ""
        return f"{text}, or, if it was a box, a mask that is white in it"

    def _has_own_mask(self) -> bool:
        read_image(self.image)
        try:
            read_image_and_mask(self.image)
        except UsageError:
            return False
        return True

    def work(self, size: tuple[int, int]) -> Work:
        """One window a picture; `size` is the picture's (height, width)."""
        settings, n = self.settings, self.n
        more = n * further(self.prompt)
        return Work(n, settings, n, prior_runs=n, further=more, size=size, inpaints=True)


@each_prompt(EditRequest)
def edit(
    pipe: Chain,
    image: Source,
    mask: Source | None = None,
    prompt: str | Sequence[str] = "",
    n: int = 1,
    seed: int = 0,
    on_step: OnStep | None = None,
    *,
    prior: str | None = None,
    decoder: str | None = None,
    box: tuple[int, int, int, int] | None = None,
    negative_prompt: str = "",
    **settings: Unpack[SamplingSettings],
) -> list[Image.Image]:
    """Paint a part of a picture anew; the rest comes back byte for byte.

    It takes its border's tint. A decoder with mask channels (GLIDE, arXiv 2112.10741) sees what is
    around; others, and `inpainting="repaint"`, are held to it (RePaint, arXiv 2201.09865).

    Args:
        image: a path, bytes, a file or a PIL picture, of any size and shape.
        mask: a picture of the same shape: where its alpha is 0 (as in OpenAI's Images API), or,
            without alpha, where it is white, is painted. None: the picture's own alpha.
        prompt: what the whole picture shows; must not be empty; or a list, as in `generate`. One
            text may take a mask's place, as in `edit(image, "a cat", box=(0, 0, 64, 64))`.
        n: how many; picture i uses `seed + i`.
        seed: 0 or more.
        on_step, prior, decoder, negative_prompt, settings: as in `generate`.
        box: left, top, width and height of a rectangle to paint in place of a mask, in pixels.

    Returns:
        Pictures of the size of `image`.

    Raises:
        UsageError: pictures that do not fit each other, nothing to paint, an empty prompt.
    """
    from ._canvas import Brush, paint

    if isinstance(mask, str) and not prompt and not Path(mask).is_file():  # a text alone
        prompt, mask = mask, None
    asked = {"prior": prior, "decoder": decoder, "negative_prompt": negative_prompt}
    request = EditRequest.of(
        image=image, mask=mask, box=box, prompt=prompt, n=n, seed=seed, settings=settings, **asked
    )
    pipe = chosen(pipe, request)
    picture, where = request.read()
    check_request(pipe, request, request.work((picture.height, picture.width)), on_step)
    brush = Brush(request, request.prior, on_step)
    window = window_around(where, pipe.model.size)
    seeds = range(request.seed, request.seed + request.n)
    painted = paint(pipe, as_tensor(picture), mask_tensor(where), [window], seeds, brush)
    made = request.record(image=digest(picture), mask=digest(where))
    return attach_record(pipe, list(painted), made)


def _rectangle(box: Box, size: tuple[int, int]) -> Image.Image:
    """A mask of a picture's (height, width): 255 in the box, else 0. Raises UsageError."""
    left, top, width, height = box
    corners = (left, top, left + width, top + height)
    inside = left >= 0 and top >= 0 and corners[2] <= size[1] and corners[3] <= size[0]
    if width < 1 or height < 1 or not inside:
        raise UsageError(
            f"box {','.join(map(str, box))} must lie within the picture, which is "
            f"{size[1]}×{size[0]} pixels, and be at least one pixel wide and high"
        )
    mask = Image.new("L", size[::-1], 0)
    mask.paste(255, corners)
    return mask


def as_tensor(picture: Image.Image) -> Tensor:
    """(1, 3, H, W) uint8."""
    import torch

    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]


def largest(drawn: tuple[int, int], within: tuple[int, int]) -> tuple[int, int]:
    """The largest (height, width) in the proportions of what a model draws that lies within."""
    height, width = within
    return (
        min(height, max(1, width * drawn[0] // drawn[1])),
        min(width, max(1, height * drawn[1] // drawn[0])),
    )


def window_around(mask: Image.Image, drawn: tuple[int, int]) -> Window:
    """The part to look at: as much as a model draws in these proportions, around what is painted.

    The whole of a picture that has the proportions of `drawn`, (height, width).
    """
    from ._canvas import Window

    box = mask.getbbox()
    assert box is not None  # a mask with nothing to paint was refused
    across, down = box[2] - box[0], box[3] - box[1]
    fitting = largest(drawn, (mask.height, mask.width))
    height = max(fitting[0], down, -(-across * drawn[0] // drawn[1]))
    width = max(fitting[1], across, -(-down * drawn[1] // drawn[0]))

    def corner(low: int, high: int, size: int, window: int) -> int:
        middle = (low + high - window) // 2
        return (size - window) // 2 if window > size else min(max(0, middle), size - window)

    x = corner(box[0], box[2], mask.width, width)
    return Window(x, corner(box[1], box[3], mask.height, height), height, width)


ABILITY = Ability(EditRequest, edit, frozenset({"prompt"}))
