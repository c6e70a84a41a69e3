"""`unclip interpolate`."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import typer

from ._chosen import BUNDLED, Chosen, choosing
from ._options import (
    Assignments,
    FilmOutput,
    Fps,
    Frames,
    GuidanceScale,
    OneSeed,
    Prior,
    Steps,
)

End = Annotated[
    str, typer.Argument(metavar="IMAGE|PROMPT", help="A picture's file, or what to draw.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(choosing(interpolate))


def interpolate(
    a: End,
    b: End,
    frames: Frames = 8,
    noise: Annotated[
        Literal["slerp", "fixed"],
        typer.Option(
            metavar="slerp|fixed", help="Whether the noise moves, too, or stays that of the first."
        ),
    ] = "slerp",
    fps: Fps = 12.0,
    seed: OneSeed = None,
    output: FilmOutput = None,
    steps: Steps = None,
    guidance_scale: GuidanceScale = None,
    prior: Prior = None,
    assignments: Assignments = None,
    chosen: Chosen = BUNDLED,
) -> None:
    """Walk from one picture, or sentence, to another.

    Of whatever is the name of a file the picture is taken, cropped to its middle square.

    \b
    Examples:
      unclip interpolate fox.png car.png -o strip.png
      unclip interpolate "a fox" "a red car" --frames 24 --seed 7 -o loop.gif
      unclip interpolate fox.png "a wolf" --noise fixed --fps 8 -o loop.mp4
      unclip interpolate fox.png car.png --frames 16 -o frames/
    """
    from ._draw import Order
    from ._output import slug

    ends = [_check(end) for end in (a, b)]
    name = f"{slug(ends[0])}-to-{slug(ends[1])}"
    given = {"steps": steps, "guidance_scale": guidance_scale}
    order = Order.of(name, seed, output, assignments, chosen, fps, **given)
    order.make_series("interpolate", a=a, b=b, frames=frames, noise=noise, prior=prior)


def _check(end: str) -> str:
    """A picture's bare name, or the prompt. Raises UsageError where it can be neither."""
    from pathlib import Path

    from ..media import read_image
    from ..request import check_prompt
    from ._draw import SUFFIXES

    if os.path.isfile(end) or Path(end).suffix.lower() in SUFFIXES:
        read_image(end)
        return Path(end).stem
    check_prompt(end)
    return end
