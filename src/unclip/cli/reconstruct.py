"""`unclip reconstruct`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from ..errors import UsageError
from ._ability import DrawCommand, add_ability

HELP = """Draw a picture from a few components of its embedding.

They are the first principal components of what CLIP sees in it.

\b
Examples:
  unclip reconstruct fox.png --pictures photos/
  unclip reconstruct fox.png --dims 2,8,32 --pictures photos/ --seed 7 -o fox-parts.png
"""


class Reconstruct(DrawCommand):
    """Its files are called after the numbers of components."""

    def title(self, values: Mapping[str, Any]) -> str:
        """Raises UsageError where two files would have one name."""
        dims = values["dims"].split(",")
        if len(set(dims)) < len(dims):
            raise UsageError(f"--dims must be different numbers, got '{values['dims']}'")
        return super().title(values)


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_ability(app, "reconstruct", HELP, base=Reconstruct, dims="10,40,160")
