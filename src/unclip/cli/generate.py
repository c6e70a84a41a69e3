"""`unclip generate`."""

from __future__ import annotations

from typing import Annotated

import typer

from ._chosen import BUNDLED, Chosen, choosing
from ._options import (
    Assignments,
    Count,
    GuidanceScale,
    Output,
    Prior,
    Seed,
    Steps,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(choosing(generate))


def generate(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to draw.")],
    n: Count = 1,
    seed: Seed = None,
    output: Output = None,
    steps: Steps = None,
    guidance_scale: GuidanceScale = None,
    prior_guidance_scale: Annotated[
        float | None, typer.Option(metavar="SCALE", help="Guidance of the prior; 1 is none.")
    ] = None,
    prior: Prior = None,
    best_of: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="K",
            help="Draw K for each picture, and keep the one that CLIP finds nearest to PROMPT.",
        ),
    ] = 1,
    negative_prompt: Annotated[
        str, typer.Option(metavar="TEXT", help="What guidance leads away from.")
    ] = "",
    assignments: Assignments = None,
    chosen: Chosen = BUNDLED,
) -> None:
    """Draw pictures of a sentence.

    A file that is not named with -o never replaces another picture: the same request has the same
    name (a-fox-7.png), and one with other settings is numbered (a-fox-7-2.png).

    Every PNG carries its prompt, seed, settings and the model's hash, so that `unclip replay`
    can make the same picture again. Other formats carry nothing. What is not set here has the
    model's own default.

    \b
    Examples:
      unclip generate "a red car"
      unclip generate "a red car" -n 4 --seed 7 -o out.png   # one grid of four
      unclip generate "a red car" -n 4 --seed 7 -o cars/     # cars/a-red-car-7.png and three more
      unclip generate "a fox" --steps 50 --guidance-scale 4
      unclip generate "a fox" --seed 7 -o -                  # a PNG to stdout
      unclip generate "a fox" --set prior_steps=32 --set eta=1
      unclip generate "a fox" --prior none --best-of 4
      unclip generate "a fox" --negative-prompt "snow"
      unclip generate "a fox" --model runs/mine/model --device cuda
    """
    from ._draw import Order
    from ._output import slug

    order = Order.of(
        slug(prompt),
        seed,
        output,
        assignments,
        chosen,
        steps=steps,
        guidance_scale=guidance_scale,
        prior_guidance_scale=prior_guidance_scale,
    )
    negative = {"negative_prompt": negative_prompt}
    order.make("generate", prompt=prompt, n=n, prior=prior, best_of=best_of, **negative)
