"""`unclip vary`."""

from __future__ import annotations

from typing import Annotated

import typer

from ._chosen import BUNDLED, Chosen, choosing
from ._options import (
    Assignments,
    Count,
    GuidanceScale,
    Output,
    Picture,
    Seed,
    Steps,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(choosing(vary, "strict_words"))


def vary(
    image: Picture,
    n: Count = 4,
    eta: Annotated[
        float,
        typer.Option(
            min=0, max=1, metavar="ETA", help="0 gives the picture back, 1 leaves most to chance."
        ),
    ] = 0.8,
    seed: Seed = None,
    output: Output = None,
    steps: Steps = None,
    guidance_scale: GuidanceScale = None,
    assignments: Assignments = None,
    chosen: Chosen = BUNDLED,
) -> None:
    """Draw variations of a picture.

    What CLIP sees in it stays, the rest is left to chance. The picture is cropped to its middle
    square.

    \b
    Examples:
      unclip vary fox.png
      unclip vary fox.png -n 9 --eta 1 --seed 7 -o foxes.png   # one grid of nine
      unclip vary fox.png -o foxes/                            # one file each: fox-vary-SEED.png
    """
    from ._draw import Order, named, picture

    source = picture(image)
    name = named(image, "vary")
    given = {"steps": steps, "guidance_scale": guidance_scale}
    order = Order.of(name, seed, output, assignments, chosen, **given)
    order.make("vary", image=source, n=n, eta=eta)
