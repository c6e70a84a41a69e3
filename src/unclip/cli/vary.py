"""`unclip vary`."""

from __future__ import annotations

import typer

from ._ability import add_ability

HELP = """Draw variations of a picture.

What CLIP sees in it stays, the rest is left to chance. The picture is cropped to its middle
square.

\b
Examples:
  unclip vary fox.png
  unclip vary fox.png -n 9 --eta 1 --seed 7 -o foxes.png   # one grid of nine
  unclip vary fox.png -o foxes/                            # one file each: fox-vary-SEED.png
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_ability(app, "vary", HELP, n=4)
