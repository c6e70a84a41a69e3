"""`unclip outpaint`."""

from __future__ import annotations

from typing import Annotated

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

Pixels = Annotated[int, typer.Option(min=0, metavar="PIXELS", help="How much to add on this side.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(choosing(outpaint))


def outpaint(
    image: Picture,
    prompt: Prompt,
    left: Pixels = 0,
    right: Pixels = 0,
    top: Pixels = 0,
    bottom: Pixels = 0,
    n: Count = 1,
    seed: Seed = None,
    output: Output = None,
    steps: Steps = None,
    guidance_scale: GuidanceScale = None,
    prior: Prior = None,
    assignments: Assignments = None,
    chosen: Chosen = BUNDLED,
) -> None:
    """Paint what lies around a picture.

    The picture itself stays as it is, to the byte.

    \b
    Examples:
      unclip outpaint fox.png --left 64 --right 64 "a fox in a forest"
      unclip outpaint fox.png --top 128 "a fox under the moon" -n 4 --seed 7 -o foxes/
    """
    from ._draw import Order, named, picture

    sides = {"left": left, "right": right, "top": top, "bottom": bottom}
    if not any(sides.values()):
        raise UsageError("nothing to paint: give --left, --right, --top or --bottom in pixels")
    source = picture(image)
    name = named(image, "outpaint")
    given = {"steps": steps, "guidance_scale": guidance_scale}
    order = Order.of(name, seed, output, assignments, chosen, **given)
    order.make("outpaint", image=source, prompt=prompt, n=n, prior=prior, **sides)
