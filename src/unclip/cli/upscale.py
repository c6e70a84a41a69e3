"""`unclip upscale`."""

from __future__ import annotations

from typing import Annotated

import typer

from ._chosen import BUNDLED, Chosen, choosing
from ._options import Assignments, Count, Output, Picture, Seed


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(choosing(upscale, "strict_words"))


def upscale(
    image: Picture,
    n: Count = 1,
    seed: Seed = None,
    output: Output = None,
    steps: Annotated[
        int | None,
        typer.Option(metavar="STEPS", help="Sampling steps of the stage called upsampler."),
    ] = None,
    assignments: Assignments = None,
    chosen: Chosen = BUNDLED,
) -> None:
    """Enlarge a picture with the model's upsamplers.

    It may be of any size and shape.

    \b
    Examples:
      unclip upscale fox.png -o large.png
      unclip upscale fox.png --steps 20 --set upsampler_eta=0
    """
    from ._draw import Order, named, picture

    source = picture(image)
    name = named(image, "upscale")
    order = Order.of(name, seed, output, assignments, chosen, upsampler_steps=steps)
    order.make("upscale", image=source, n=n)
