"""One of many requests, how its pictures are called, and the row that asks for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError, about
from .layout import Layout
from .names import numbered

if TYPE_CHECKING:
    from ..request import Drawing
    from .rows import Row


@dataclass(frozen=True)
class Job:
    """A request, and how its pictures are called."""

    request: Drawing
    layout: Layout
    row: Row
    written: str = ""  # its prompt, as it was before choices were made
    sources: Mapping[str, str] = field(default_factory=dict)  # files that it begins from
    folder: str = ""  # of its pictures within the folder for all
    any_seed: bool = False  # nobody asked for its seed

    @property
    def count(self) -> int:
        """Of its pictures."""
        captions = self.request.captions()
        other = getattr(self.request, "frames", 1) if captions is None else len(captions)
        return int(getattr(self.request, "n", other))

    def names(self) -> list[str]:
        """Of its pictures, without suffix."""
        own = str(Path(self.row.output).with_suffix("")) if self.row.output else ""
        more = [f"{own}-{number}" for number in range(2, self.count + 1)]
        names = [own, *more] if own else self.layout.names(self.count)
        return [os.path.join(self.folder, name) for name in names]

    def blame(self, error: Exception) -> UsageError:
        """An error with the row that it is about."""
        return in_row(error, self.row.where)


def in_row(error: Exception, where: str) -> UsageError:
    """The same, after the row that it is about, if there is one."""
    said = UsageError(f"{where}: {error}" if where else error)
    said.field = getattr(error, "field", None)
    return said


@about("output")
def output_of(row: Row, number: int) -> Row:
    """The row with the name of its picture, numbered where it has several. Raises UsageError."""
    from ..media.writing import format_of
    from .rows import OUTPUT

    if not row.output:
        return row
    path = Path(row.output)
    path = path if path.suffix else path.with_name(f"{path.name}.png")
    format_of(path)
    return replace(row, values={**row.values, OUTPUT: str(numbered(path, number or 1))})
