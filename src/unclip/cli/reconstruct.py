"""Draw a picture from a few components of its embedding.

These are the first principal components of its CLIP image embedding.

\b
Examples:
  unclip reconstruct fox.png --pictures photos/
  unclip reconstruct fox.png --dims 2,8,32 --pictures photos/ --seed 7 -o fox-parts.png
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UsageError
from ._ability import DrawCommand, ability_command


class Reconstruct(DrawCommand):
    """Its files are called after the numbers of components."""

    def title(self, values: Mapping[str, Any]) -> str:
        """Raises UsageError where two files would have one name."""
        dims = values["dims"].split(",")
        if len(set(dims)) < len(dims):
            raise UsageError(f"--dims must be different numbers, got '{values['dims']}'")
        return super().title(values)


register = ability_command(__name__, "reconstruct", Reconstruct, dims="10,40,160")
