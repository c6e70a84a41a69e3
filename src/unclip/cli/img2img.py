"""`unclip img2img`."""

from __future__ import annotations

import typer

from ._ability import add_ability

HELP = """Draw a picture again as something else.

Its layout stays, more or less. The picture is cropped to its middle square.

\b
Examples:
  unclip img2img sketch.png "a pizza"
  unclip img2img sketch.png "a pizza" --strength 0.8 -n 4 --seed 7 -o pizzas.png
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_ability(app, "img2img", HELP, "image_to_image")
