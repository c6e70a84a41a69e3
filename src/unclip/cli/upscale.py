"""`unclip upscale`."""

from __future__ import annotations

import typer

from ._ability import add_ability

HELP = """Enlarge a picture with the model's upsamplers.

It may be of any size and shape.

\b
Examples:
  unclip upscale fox.png -o large.png
  unclip upscale fox.png --steps 20 --set upsampler_eta=0
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_ability(app, "upscale", HELP)
