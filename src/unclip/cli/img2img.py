"""`unclip img2img`."""

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
    app.command()(choosing(img2img))


def img2img(
    image: Picture,
    prompt: Prompt,
    strength: Annotated[
        float,
        typer.Option(min=0, max=1, metavar="S", help="0 keeps the picture, 1 keeps nothing of it."),
    ] = 0.6,
    n: Count = 1,
    seed: Seed = None,
    output: Output = None,
    steps: Steps = None,
    guidance_scale: GuidanceScale = None,
    prior: Prior = None,
    assignments: Assignments = None,
    chosen: Chosen = BUNDLED,
) -> None:
    """Draw a picture again as something else.

    Its layout stays, more or less. The picture is cropped to its middle square.

    \b
    Examples:
      unclip img2img sketch.png "a pizza"
      unclip img2img sketch.png "a pizza" --strength 0.8 -n 4 --seed 7 -o pizzas.png
    """
    from ._draw import Order, named, picture

    given = {"image": picture(image), "prompt": prompt, "strength": strength, "n": n}
    options = {"steps": steps, "guidance_scale": guidance_scale}
    name = named(image, "img2img")
    order = Order.of(name, seed, output, assignments, chosen, **options)
    order.make("image_to_image", prior=prior, **given)
