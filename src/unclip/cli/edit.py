"""`unclip edit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from ._chosen import BUNDLED, Chosen, choosing
from ._options import (
    Assignments,
    Count,
    GuidanceScale,
    Output,
    Picture,
    Prior,
    Prompt,
    Seed,
    Steps,
)

if TYPE_CHECKING:
    from PIL.Image import Image


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(choosing(edit))


def edit(
    image: Picture,
    prompt: Prompt,
    mask: Annotated[
        str | None,
        typer.Option(
            metavar="MASK",
            help="A picture of the same shape: transparent where to paint; or, if it has no "
            "alpha channel, white there.",
            show_default="IMAGE's own alpha channel",
        ),
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(
            metavar="LEFT,TOP,WIDTH,HEIGHT",
            help="A rectangle to paint instead of a mask, in pixels of IMAGE.",
        ),
    ] = None,
    n: Count = 1,
    seed: Seed = None,
    output: Output = None,
    steps: Steps = None,
    guidance_scale: GuidanceScale = None,
    prior: Prior = None,
    assignments: Assignments = None,
    chosen: Chosen = BUNDLED,
) -> None:
    """Paint a part of a picture anew.

    The rest stays as it is, to the byte.

    \b
    Examples:
      unclip edit fox.png --box 128,0,128,256 "a cat"     # paints the right half
      unclip edit plate.png --mask mask.png "a pizza" -n 4 --seed 7 -o pizzas/
      unclip edit holed.png "a fox"                       # paints where holed.png is transparent
    """
    from ..media import read_image, read_image_and_mask
    from ._draw import Order, named

    if box is None:
        shown, where = read_image_and_mask(image, mask)
    elif mask is None:
        shown = read_image(image)
        where = _rectangle(box, shown.size)
    else:
        raise UsageError("--box and --mask both say where to paint: give one of them")
    name = named(image, "edit")
    given = {"steps": steps, "guidance_scale": guidance_scale}
    order = Order.of(name, seed, output, assignments, chosen, **given)
    order.make("edit", image=shown, mask=where, prompt=prompt, n=n, prior=prior)


def _rectangle(box: str, size: tuple[int, int]) -> Image:
    """A mask of a picture's size: 255 in 'LEFT,TOP,WIDTH,HEIGHT', else 0. Raises UsageError."""
    from PIL import Image

    try:
        left, top, width, height = (int(part) for part in box.split(","))
    except ValueError:
        raise UsageError(
            f"--box must be LEFT,TOP,WIDTH,HEIGHT in pixels, such as 0,0,64,32, got '{box}'"
        ) from None
    corners = (left, top, left + width, top + height)
    inside = left >= 0 and top >= 0 and corners[2] <= size[0] and corners[3] <= size[1]
    if width < 1 or height < 1 or not inside:
        raise UsageError(
            f"--box {box} must lie within the picture, which is {size[0]}×{size[1]} pixels"
        )
    mask = Image.new("L", size, 0)
    mask.paste(255, corners)
    return mask
