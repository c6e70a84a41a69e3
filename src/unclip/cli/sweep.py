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

    from ..abilities.generate import GenerateRequest
    from ..facade import Pipeline
    from ..request import Cost
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
    from ..request import check_prompt
    from ._draw import Order
    from ._output import slug
    from ._sheet import make_table, table_size

    check_prompt(prompt)
    columns, rows = Axis.of(x, "--x"), Axis.of(y, "--y")
    if columns.key == rows.key:
        raise UsageError(f"--x and --y are both {columns.key}: give two different settings")
    given = {"steps": steps, "guidance_scale": guidance_scale}
    order = Order.of(f"{slug(prompt)}-sweep", seed, output, assignments, chosen, **given)
    begin = {"seed": order.seed, **({"prior": prior} if prior else {}), **order.settings}
    pipe = order.chosen.load()
    cost, cells = planned(pipe, prompt, begin, columns, rows)
    names = [
        "-".join(filter(None, (order.name, str(order.seed), row, column))).replace("/", "-")
        for row in rows.labels()
        for column in columns.labels()
    ]
    labels = columns.labels(), rows.labels()
    order.target.expect(cost, lambda _: names, lambda each: table_size(each.size, *labels))
    pictures = _drawn(pipe, cells, cost)

    def sheet() -> Image:
        axes = {"x": x} | ({"y": y} if y else {})
        return _signed(make_table(pictures, *labels), pipe, prompt, order, axes)

    order.deliver(pictures, names, sheet, one_seed=True)


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


def planned(
    pipe: Pipeline, prompt: str, begin: dict[str, Any], columns: Axis, rows: Axis
) -> tuple[Cost, list[GenerateRequest]]:
    """What all cells take together, and each one's request, row by row.

    A mistake in any cell is found before the first is drawn, and so is that there are too many:
    first by the cheapest along both edges, as a list of all could itself be too long.

    Raises:
        UsageError: a setting that there is not or that is out of range, or more than the limit.
    """
    from ..request import check_memory

    down, across = rows.changes(), columns.changes()
    edges = [begin | row | across[0] for row in down] + [begin | down[0] | one for one in across]
    costs = [_cost(pipe, _request(prompt, cell)) for cell in edges]
    count = len(down) * len(across)
    cheapest = min(costs, key=lambda cost: cost.total)
    cheapest.times(count).check(pipe.policy.limit)
    check_memory(count, cheapest.size)
    cells = [_request(prompt, begin | row | column) for row in down for column in across]
    total = cheapest.times(0)
    for cell in cells:
        total += _cost(pipe, cell)
    total.check(pipe.policy.limit)
    return total, cells


def _request(prompt: str, cell: dict[str, Any]) -> GenerateRequest:
    from ..abilities.generate import GenerateRequest
    from ..facade import Pipeline
    from ._draw import check_settings

    own = {key: cell[key] for key in ("seed", "prior", "best_of") if key in cell}
    settings = {key: value for key, value in cell.items() if key not in own}
    check_settings(Pipeline.generate, settings)
    if own.get("prior") is not None:  # a name that reads as a number is a name
        own["prior"] = str(own["prior"])
    return GenerateRequest.of(prompt=prompt, settings=settings, **own)


def _cost(pipe: Pipeline, cell: GenerateRequest) -> Cost:
    """Of a cell that the model can draw. Raises UsageError."""
    pipe.model.check_prior(cell.prior)
    return pipe.cost(cell.work(), cell.prior)


def _drawn(pipe: Pipeline, cells: list[GenerateRequest], cost: Cost) -> list[Image]:
    """One picture a cell."""
    from ._draw import drawing

    with drawing(pipe, cost=cost) as on_step:
        return [pipe.generate(**_arguments(cell), on_step=on_step)[0] for cell in cells]


def _arguments(cell: GenerateRequest) -> dict[str, Any]:
    own = cell.model_dump(exclude={"settings"})
    return own | cell.settings


def _signed(table: Image, pipe: Pipeline, prompt: str, order: Order, axes: dict[str, str]) -> Image:
    from ..abilities._drawing import attach_record
    from ..request import Record

    record = Record(prompt, order.seed, dict(order.settings), ability="sweep", inputs=axes)
    return attach_record(pipe, [table], record)[0]
