"""`unclip edit`."""

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
    Prior,
    Prompt,
    Seed,
    Steps,
)


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
    n: Count = 1,
    seed: Seed = None,
    output: Output = None,
    steps: Steps = None,
    guidance_scale: GuidanceScale = None,
    prior: Prior = None,
    assignments: Assignments = None,
    chosen: Chosen = BUNDLED,
) -> None:
    """Paint a part of a picture anew; the rest stays as it is, to the byte.

    \b
    Examples:
      unclip edit plate.png --mask mask.png "a pizza"
      unclip edit plate.png --mask mask.png "a pizza" -n 4 --seed 7 -o pizzas/
      unclip edit holed.png "a fox"                         paints where holed.png is transparent
    """
    from ..images import read_image_and_mask
    from ..request import check_request
    from ._draw import Order, named

    check_request(prompt, n)
    shown, where = read_image_and_mask(image, mask)
    name = named(image, "edit")
    given = {"steps": steps, "guidance_scale": guidance_scale}
    order = Order.of(name, seed, output, assignments, chosen, **given)
    order.make("edit", image=shown, mask=where, prompt=prompt, n=n, prior=prior)
