"""`unclip interpolate`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from ._ability import DrawCommand, add_ability
from ._output import slug

HELP = """Walk from one picture, or sentence, to another.

An argument that is the name of a file is a picture, cropped to its middle square.

\b
Examples:
  unclip interpolate fox.png car.png -o strip.png
  unclip interpolate "a fox" "a red car" --frames 24 --seed 7 -o loop.gif
  unclip interpolate fox.png "a wolf" --noise fixed --fps 8 -o loop.mp4
  unclip interpolate fox.png car.png --frames 16 -o frames/
"""


class Interpolate(DrawCommand):
    """Its files are called after both ends."""

    def title(self, values: Mapping[str, Any]) -> str:
        """Such as fox-to-a-red-car."""
        ends = [
            Path(end).stem if os.path.isfile(end) else end for end in (values["a"], values["b"])
        ]
        return "-to-".join(slug(end) for end in ends)


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_ability(app, "interpolate", HELP, base=Interpolate)
