"""Draw a grid of pictures over one or two settings.

One sentence is drawn under every combination of them, side by side. Any sampling setting will
do, and also seed, prior, best_of and negative_prompt.

\b
Examples:
  unclip sweep "a fox" --x steps=4,8,16 --y guidance_scale=1,3,6 -o grid.png
  unclip sweep "a fox" --x seed=1,2,3,4 --y prior=prior,none -o grid.png
  unclip sweep "a fox" --x sampler=ddim,ddpm,heun --steps 12 -o foxes/
"""
# Without `from __future__ import annotations`: see `_options`.

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from ..bulk.names import slug
from ..errors import UsageError
from ._ability import DrawCommand, add_command
from ._defaults import origins
from ._draw import deliver, drawing
from ._options import option

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..abilities.generate import GenerateRequest
    from ..cost import Cost
    from ..facade import Pipeline

    Requests = Callable[[Mapping[str, Any]], GenerateRequest]

Columns = Annotated[str, option("--x", "KEY=V,V,...", "A setting and its values, by column.")]
Rows = Annotated[
    str | None, option("--y", "KEY=V,V,...", "Another setting and its values, by row.")
]


@dataclass(frozen=True, kw_only=True)
class Sweep(DrawCommand):
    """What `unclip generate` is asked for, changed along two axes: a picture a combination."""

    x: Columns
    y: Rows = None
    left_out: ClassVar[frozenset[str]] = frozenset(("n", "best_of"))
    one_seed: ClassVar[bool] = True

    def run(self) -> None:
        """Draw, write, say so."""
        from ..arguments import check_prompt, given

        started, seed = time.monotonic(), self.first_seed()
        asked = self.values(self.ability.request.model_fields)
        prompt, texts = asked.pop("prompt"), {"x": self.x, "y": self.y}
        check_prompt(prompt)
        columns, rows = (Axis.of(text, f"--{name}") for name, text in texts.items())
        if columns.key == rows.key:
            raise UsageError(f"--x and --y are both {columns.key}: give two different settings")
        name, settings = f"{slug(prompt)}-sweep-{seed}", self.settings() | given(asked)
        for key in {columns.key, rows.key} & origins.get().keys():
            settings.pop(key, None)  # nobody typed it
        for text, axis in zip(texts.items(), (columns, rows), strict=True):
            if axis.key in settings:
                typed = f"--{text[0]} {text[1]} and {axis.key}={settings[axis.key]}"
                raise UsageError(f"{typed} set the same: give only one of them")
        target, preview, pipe = self.target(name), self.shown(), self.load()

        def request_of(changes: Mapping[str, Any]) -> "GenerateRequest":
            return _request(prompt, {"seed": seed, **settings, **changes})

        cost, cells = planned(pipe, request_of, columns, rows)
        made = {"seed": seed, "settings": settings, "ability": "sweep", "inputs": given(texts)}
        table = Combinations(name, columns.labels(), rows.labels(), made)
        target.expect(cost, table)
        with drawing(pipe, cost=cost, preview=preview) as on_step:
            pictures = [pipe.run(one, on_step)[0] for one in cells]
        self.open(deliver(pictures, table, target, f"seed {seed}", started))


@dataclass(frozen=True)
class Axis:
    """A setting and the values it takes; without a key, one row that changes nothing."""

    key: str
    values: tuple[Any, ...]

    @classmethod
    def of(cls, text: str | None, option: str) -> "Axis":
        """Read 'steps=4,8'. Raises UsageError."""
        from ..config import override

        if text is None:
            return cls("", (None,))
        key, _, values = (part.strip() for part in text.partition("="))
        words = [word.strip() for word in values.split(",")]
        if not key or not all(words):
            raise UsageError(f"{option} wants key=value,value, such as steps=4,8, got '{text}'")
        return cls(key, tuple(override({}, [f"value={word}"])["value"] for word in words))

    def changes(self) -> list[dict[str, Any]]:
        """What each row or column sets."""
        return [{self.key: value} if self.key else {} for value in self.values]

    def labels(self) -> list[str]:
        """What each row or column is called."""
        return [f"{self.key}={value}" if self.key else "" for value in self.values]


@dataclass(frozen=True)
class Combinations:
    """The sheet of a sweep: a column and a row for each value."""

    name: str
    columns: list[str]
    rows: list[str]
    made: Mapping[str, Any]  # its record, where that is not the first picture's

    def names(self, count: int) -> list[str]:
        """After both values."""
        parts = ((self.name, row, column) for row in self.rows for column in self.columns)
        return ["-".join(filter(None, part)).replace("/", "-") for part in parts]

    def size(self, cost: "Cost") -> tuple[int, int]:
        """(height, width) of it."""
        from ._sheet import Table

        return Table(cost.size, self.columns, self.rows).whole

    def make(self, pictures: "Sequence[Image]") -> "Image":
        """With a record of its own."""
        from ..media.notes import copy_notes
        from ..record import Record
        from ._sheet import Table

        largest = max(one.height for one in pictures), max(one.width for one in pictures)
        sheet = Table(largest, self.columns, self.rows).make(pictures)
        record = replace(Record.of(pictures[0]), **self.made)
        copy_notes(pictures[0], sheet)
        sheet.info["unclip"] = record.to_json()
        return sheet


def planned(
    pipe: "Pipeline", request_of: "Requests", columns: Axis, rows: Axis
) -> "tuple[Cost, list[GenerateRequest]]":
    """What all combinations take together, and each one's request, row by row.

    A mistake in any of them is found before the first is drawn, and so is that there are too many:
    first by the cheapest along both edges, as a list of all could itself be too long.

    Raises:
        UsageError: an unknown setting or one out of range, or more steps than the limit.
    """
    from ..abilities._several import cost_of
    from ..cost import check_memory

    down, across = rows.changes(), columns.changes()
    edges = [row | across[0] for row in down] + [down[0] | column for column in across]
    cheapest = min((cost_of(pipe, request_of(edge)) for edge in edges), key=lambda cost: cost.total)
    cheapest.times(count := len(down) * len(across)).check(pipe.policy.limit)
    check_memory(count, cheapest.size)
    cells = [request_of(row | column) for row in down for column in across]
    costs = [cost_of(pipe, cell) for cell in cells]
    total = sum(costs, cheapest.times(0))
    total.check(pipe.policy.limit)
    heights, widths = zip(*(cost.size for cost in costs), strict=True)
    return replace(total, size=(max(heights), max(widths))), cells


def _request(prompt: str, values: Mapping[str, Any]) -> "GenerateRequest":
    """Of a combination. Raises UsageError."""
    from ..abilities.generate import GenerateRequest

    own = values.keys() & (GenerateRequest.model_fields.keys() - {"prompt", "n", "settings"})
    asked = {key: values[key] for key in own}
    if asked.get("prior") is not None:  # a name that reads as a number is a name
        asked["prior"] = str(asked["prior"])
    settings = {key: value for key, value in values.items() if key not in own}
    return GenerateRequest.of(prompt=prompt, **asked, settings=settings)


def register(app: typer.Typer) -> None:
    """Add the command, which takes what `unclip generate` does."""
    add_command(app, "sweep", __name__, "generate", Sweep)
