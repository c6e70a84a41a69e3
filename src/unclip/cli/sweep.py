"""`unclip sweep`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from ._chosen import BUNDLED, Chosen, choosing
from ._options import (
    Assignments,
    GuidanceScale,
    OneSeed,
    Output,
    Prior,
    Steps,
)

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..pipeline import Pipeline
    from ._draw import Order


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(choosing(sweep))


def sweep(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to draw.")],
    x: Annotated[
        str, typer.Option("--x", metavar="KEY=V,V,...", help="A setting, and its value by column.")
    ],
    y: Annotated[
        str | None,
        typer.Option("--y", metavar="KEY=V,V,...", help="Another setting, and its value by row."),
    ] = None,
    seed: OneSeed = None,
    output: Output = None,
    steps: Steps = None,
    guidance_scale: GuidanceScale = None,
    prior: Prior = None,
    assignments: Assignments = None,
    chosen: Chosen = BUNDLED,
) -> None:
    """Draw a grid of pictures over one or two settings.

    One sentence is drawn under every combination of them, side by side. Any sampling setting will
    do, and also seed, prior and best_of.

    \b
    Examples:
      unclip sweep "a fox" --x steps=4,8,16 --y guidance_scale=1,3,6 -o grid.png
      unclip sweep "a fox" --x seed=1,2,3,4 --y prior=prior,none -o grid.png
      unclip sweep "a fox" --x sampler=ddim,ddpm,heun --steps 12 -o foxes/
    """
    from ..request import check_request
    from ._draw import Order
    from ._output import slug
    from ._sheet import make_table

    check_request(prompt, 1)
    columns, rows = Axis.of(x, "--x"), Axis.of(y, "--y")
    if columns.key == rows.key:
        raise UsageError(f"--x and --y are both {columns.key}: give two different settings")
    given = {"steps": steps, "guidance_scale": guidance_scale}
    order = Order.of(f"{slug(prompt)}-sweep", seed, output, assignments, chosen, **given)
    settings = {"seed": order.seed, **({"prior": prior} if prior else {}), **order.settings}
    cells = [settings | row | column for row in rows.changes() for column in columns.changes()]
    pipe = order.chosen.load()
    for cell in cells:
        _check(pipe, cell)
    pictures = _drawn(pipe, prompt, cells)
    names = [
        "-".join(filter(None, (order.name, str(order.seed), row, column)))
        for row in rows.labels()
        for column in columns.labels()
    ]

    def sheet() -> Image:
        table = make_table(pictures, columns.labels(), rows.labels())
        axes = {"x": x} | ({"y": y} if y else {})
        return _signed(table, pipe, prompt, order, axes)

    order.deliver(pictures, [name.replace("/", "-") for name in names], sheet, one_seed=True)


@dataclass(frozen=True)
class Axis:
    """A setting and the values it takes; without a key, one row that changes nothing."""

    key: str
    values: tuple[Any, ...]

    @classmethod
    def of(cls, text: str | None, option: str) -> Axis:
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


_WHOLE = ("seed", "best_of")


def _check(pipe: Pipeline, cell: dict[str, Any]) -> None:
    """Find a mistake in any cell before the first is drawn. Raises UsageError."""
    from ..pipeline import Pipeline
    from ._draw import check_settings

    known = ("seed", "prior", "best_of")
    sampling = {key: value for key, value in cell.items() if key not in known}
    check_settings(Pipeline.generate, sampling)
    pipe.by_stage(sampling)
    pipe.check_prior(None if cell.get("prior") is None else str(cell["prior"]))
    for key in _WHOLE:
        if not isinstance(cell.get(key, 1), int):
            raise UsageError(f"{key} must be a whole number, got {cell[key]!r}")
    if cell.get("best_of", 1) < 1:
        raise UsageError(f"best_of must be at least 1, got {cell['best_of']}")


def _drawn(pipe: Pipeline, prompt: str, cells: list[dict[str, Any]]) -> list[Image]:
    """One picture a cell."""
    from ._progress import sampling_progress

    with sampling_progress() as on_step:
        return [pipe.generate(prompt, on_step=on_step, **cell)[0] for cell in cells]


def _signed(table: Image, pipe: Pipeline, prompt: str, order: Order, axes: dict[str, str]) -> Image:
    from ..request import Record

    record = Record(prompt, order.seed, dict(order.settings)).made_by("sweep", **axes)
    return pipe.sign([table], record)[0]
