"""What abilities share that draw whole pictures: their size, and whether they tile."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ..config import shown
from ..errors import UsageError
from ..media import MAX_PIXELS
from ..request import Drawing, Option

if TYPE_CHECKING:
    from ..pipeline import Chain

MOST_ASPECT = 16
"""Longer pictures than this are refused."""


def _size(value: Any) -> Any:
    """768x512, also 768X512 and 768 × 512; 512 is 512x512."""
    found = re.fullmatch(r"\s*(\d{1,9})\s*(?:[xX×]\s*(\d{1,9})\s*)?", str(value))
    if value is None:
        return None
    if not isinstance(value, str) or not found:
        raise UsageError(f"size must be WIDTHxHEIGHT, such as '768x512', got {shown(value)}")
    width, height = int(found[1]), int(found[2] or found[1])
    if not 1 <= width * height <= MAX_PIXELS:
        raise UsageError(
            f"size must be 1 to {MAX_PIXELS:,} pixels, got {width}x{height}, which is "
            f"{width * height:,}"
        )
    return f"{width}x{height}"


def _aspect(value: Any) -> Any:
    """3:2, also 3/2."""
    if value is None:
        return None
    number = r"(\d{1,6}(?:\.\d{1,6})?)"
    found = re.fullmatch(rf"\s*{number}\s*[:/]\s*{number}\s*", str(value))
    if not isinstance(value, str) or not found or not float(found[1]) * float(found[2]):
        raise UsageError(f"aspect must be WIDTH:HEIGHT, such as '3:2', got {shown(value)}")
    if not 1 / MOST_ASPECT <= float(found[1]) / float(found[2]) <= MOST_ASPECT:
        raise UsageError(f"aspect must be 1:{MOST_ASPECT} to {MOST_ASPECT}:1, got '{value}'")
    return f"{found[1]}:{found[2]}"


def _tile(value: Any) -> Any:
    return {True: "both", False: None}.get(value, value) if isinstance(value, bool) else value


class Sized(Drawing):
    """A request for whole pictures. Functions take these fields among their settings."""

    shared: ClassVar[frozenset[str]] = frozenset({"size", "aspect", "tile"})

    extends: ClassVar[bool] = False
    """Whether windows extend what a model draws that draws one size alone."""

    size: Annotated[
        str | None, BeforeValidator(_size), Option(metavar="WxH", default="the model's own")
    ] = Field(None, description="Width and height in pixels, such as 768x512.")
    aspect: Annotated[str | None, BeforeValidator(_aspect), Option(metavar="W:H")] = Field(
        None, description="Proportions in place of a size, such as 3:2."
    )
    tile: Annotated[
        Literal["both", "x", "y"] | None, BeforeValidator(_tile), Option(metavar="both|x|y")
    ] = Field(None, description="Edges that fit together, on both axes or one.")

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.size is not None and self.aspect is not None:
            raise UsageError("size and aspect both say how large: give one of them")
        return self

    def wanted(self, drawn: tuple[int, int]) -> tuple[int, int]:
        """The (height, width) asked for, of a model that draws `drawn` alone.

        An aspect keeps the side that is not longer.
        """
        height, width = drawn
        if self.size is not None:
            across, down = map(int, self.size.split("x"))
            return down, across
        if self.aspect is None:
            return drawn
        return max(height, round(width / self._proportions)), max(
            width, round(height * self._proportions)
        )

    @property
    def _proportions(self) -> float:
        """Width / height of the aspect."""
        across, down = map(float, (self.aspect or "1:1").split(":"))
        return across / down

    def framed(self, pipe: Chain) -> Chain:
        """The pipeline that draws such pictures. Raises UsageError where its model cannot."""
        from ..stages.sizes import enlarging, of_aspect, resized, size_unit, tiled

        model = pipe.model
        if self.size is not None:
            model = enlarging(model, self.wanted(model.size), between=self.extends)
        by_network = not self.extends or size_unit(model) is not None
        if self.size is not None and by_network:
            model = resized(model, self.wanted(model.size))
        if self.aspect is not None and by_network:
            model = resized(model, of_aspect(model, self._proportions))
        if self.tile is not None:
            model = tiled(model, "xy" if self.tile == "both" else self.tile)
        return pipe if model is pipe.model else pipe.with_model(model)
