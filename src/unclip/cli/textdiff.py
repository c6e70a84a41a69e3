"""`unclip textdiff`."""

from __future__ import annotations

import typer

from ._ability import add_ability

HELP = """Change a picture by the difference between two descriptions.

The first one is the picture itself, cropped to its middle square.

\b
Examples:
  unclip textdiff fox.png --from "a fox" --to "a wolf"
  unclip textdiff fox.png --from "a fox" --to "a blue fox" --theta 0.4 -o strip.png
  unclip textdiff fox.png --from "a fox" --to "a wolf" --frames 16 --fps 8 -o loop.gif
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_ability(app, "textdiff", HELP, "text_diff")
