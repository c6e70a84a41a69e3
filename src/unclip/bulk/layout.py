"""How several pictures become one, and what they are called one by one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .names import NameTemplate, slug

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

    from ..cost import Cost
    from ..media.grid import Grid
    from ..request import Drawing


@dataclass(frozen=True)
class Layout:
    """The sheet of a request's pictures: a grid, or a row of what belongs together."""

    request: Drawing
    name: str

    def names(self, count: int) -> list[str]:
        """After the seed; of a row after the captions, else the numbers."""
        seed = self.request.seed
        if not self.request.one_seed:
            return [f"{self.name}-{seed + index}" for index in range(count)]
        numbers = [f"{one:0{len(str(count))}}" for one in range(1, count + 1)]
        return [f"{self.name}-{seed}-{mark}" for mark in self.request.captions() or numbers]

    def seeds(self, count: int) -> str:
        """Which they were drawn from, in words."""
        first = self.request.seed
        if count == 1 or self.request.one_seed:
            return f"seed {first}"
        return f"seeds {first} to {first + count - 1}"

    def _grid(self, count: int, size: tuple[int, int]) -> Grid:
        from ..media.grid import Grid

        return Grid(count, size, count if self.request.one_seed else None, self.request.captions())

    def size(self, cost: Cost) -> tuple[int, int]:
        """(height, width) of the sheet."""
        return self._grid(cost.pictures, cost.size).whole

    def make(self, pictures: Sequence[Image]) -> Image:
        """The one picture, or a sheet whose record says how many are on it."""
        from ..media.grid import make_grid
        from ..media.notes import copy_notes
        from ..record import Record

        if len(pictures) == 1:
            return pictures[0]
        grid = self._grid(len(pictures), (pictures[0].height, pictures[0].width))
        sheet = make_grid(pictures, grid.columns, grid.labels)
        copy_notes(pictures[0], sheet)
        sheet.info["unclip"] = replace(Record.of(pictures[0]), n=len(pictures)).to_json()
        return sheet


@dataclass(frozen=True, kw_only=True)
class NamedLayout(Layout):
    """Pictures called as a template says."""

    template: NameTemplate
    command: str
    model: str = ""
    row: int | None = None  # of a file of prompts

    def names(self, count: int) -> list[str]:
        """Raises UsageError where a field is not known."""
        from ..request import stem

        own = self.request.model_dump(exclude={"n", "settings"}, exclude_none=True)
        values = own | self.request.settings | {"model": self.model, "command": self.command}
        values |= {"name": self.name, "prompt": slug(getattr(self.request, "prompt", self.name))}
        if "image" in type(self.request).model_fields:
            values["image"] = stem(getattr(self.request, "image", None))
        if self.row is not None:
            values["row"] = self.row
        each = 0 if self.request.one_seed else 1
        counts = (
            {"index": one + 1, "seed": self.request.seed + each * one} for one in range(count)
        )
        return [self.template.stem(values | one) for one in counts]


def called(layout: Layout, model: str) -> Layout:
    """With the model's name, where names have it."""
    return replace(layout, model=model) if isinstance(layout, NamedLayout) else layout
