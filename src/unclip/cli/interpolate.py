"""Interpolate between two pictures or sentences.

An argument that names a file is a picture, cropped to its middle square.

\b
Examples:
  unclip interpolate fox.png car.png -o strip.png
  unclip interpolate "a fox" "a red car" --frames 24 --seed 7 -o loop.gif
  unclip interpolate fox.png "a cat" --noise fixed --fps 8 -o loop.mp4
  unclip interpolate fox.png car.png --frames 16 -o frames/
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._ability import DrawCommand, ability_command
from ._output import slug


class Interpolate(DrawCommand):
    """Its files are called after both ends."""

    def title(self, values: Mapping[str, Any]) -> str:
        """Such as fox-to-a-red-car."""
        ends = [
            Path(end).stem if os.path.isfile(end) else end for end in (values["a"], values["b"])
        ]
        return "-to-".join(slug(end) for end in ends)


register = ability_command(__name__, "interpolate", Interpolate)
