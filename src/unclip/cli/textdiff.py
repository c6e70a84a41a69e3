"""`unclip textdiff`."""

from __future__ import annotations

from typing import Annotated

import typer

from ._chosen import BUNDLED, Chosen, choosing
from ._options import (
    Assignments,
    FilmOutput,
    Fps,
    Frames,
    GuidanceScale,
    OneSeed,
    Picture,
    Steps,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(choosing(textdiff))


def textdiff(
    image: Picture,
    source: Annotated[str, typer.Option("--from", metavar="TEXT", help="What IMAGE shows.")],
    target: Annotated[str, typer.Option("--to", metavar="TEXT", help="What it shall show.")],
    frames: Frames = 4,
    theta: Annotated[
        float,
        typer.Option(
            max=1,
            metavar="THETA",
            help="How far the last one goes, above 0; the paper: 0.25 to 0.5.",
        ),
    ] = 0.5,
    fps: Fps = 12.0,
    seed: OneSeed = None,
    output: FilmOutput = None,
    steps: Steps = None,
    guidance_scale: GuidanceScale = None,
    assignments: Assignments = None,
    chosen: Chosen = BUNDLED,
) -> None:
    """Change a picture by the difference between two descriptions.

    The first one is the picture itself, cropped to its middle square.

    \b
    Examples:
      unclip textdiff fox.png --from "a fox" --to "a wolf"
      unclip textdiff fox.png --from "a fox" --to "a blue fox" --theta 0.4 -o strip.png
      unclip textdiff fox.png --from "a fox" --to "a wolf" --frames 16 --fps 8 -o loop.gif
    """
    from ._draw import Order, named, picture

    before = picture(image)
    name = named(image, "textdiff")
    options = {"steps": steps, "guidance_scale": guidance_scale}
    order = Order.of(name, seed, output, assignments, chosen, fps, **options)
    order.make_series(
        "text_diff",
        image=before,
        frames=frames,
        theta=theta,
        source=source,
        target=target,
    )
