"""What a training would cost, or what a budget gives it, in tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ..errors import counted
from ._progress import waiting
from ._result import report
from ._terminal import complain, console, duration, say, si, size

if TYPE_CHECKING:
    from ..train.run import Run


def say_budget(run: Run, minutes: float, names: Sequence[str]) -> None:
    """What a budget gives the stages of a run that has not begun, measured in another folder."""
    from ..device import describe
    from ..train.run import Run

    with TemporaryDirectory() as folder:
        say_plan(Run(run.recipe, Path(folder), run.device, run.clock), names)
    stages = counted(len(names), "stage")
    say(f"would train {stages} for {duration(60 * minutes)} on {describe(run.device)}")


def say_plan(run: Run, names: Sequence[str]) -> None:
    """A table of what a budget gives the stages that have not begun, and what will be too little.

    Raises:
        UsageError: not one step of a stage fits.
        DataError: the data are not there.
        TimeIsUp: the clock's time was over before all stages were measured.
    """
    spending = run.spending
    spending.budget.waiting = waiting
    given = [one for name, one in spending.allocate(run.recipe).items() if name in names]
    report(stages={one.name: {"steps": one.steps, "seconds": one.seconds} for one in given})
    _print_table(
        given,
        ("s/step", "{:.3g}".format, lambda one: one.seconds / one.steps, None),
        ("steps", "{:,}".format, lambda one: one.steps, sum),
        ("pictures", "{:,}".format, lambda one: one.samples, sum),
        ("minutes", "{:.1f}".format, lambda one: one.seconds / 60, sum),
    )
    say("steps follow the pace as a stage trains; time left over goes to later stages")
    for one in given:
        if one.is_little:
            complain(
                f"{counted(one.steps, 'step')} of '{one.name}' are few, the recipe has {one.own}: "
                "it will hardly learn",
                "warning",
            )
    if any(one.is_little for one in given) and not any(map(run.saved.begun, run.recipe.trained)):
        budget = spending.budget
        enough, whole = (60 * f(run.recipe) for f in (budget.enough, budget.whole))
        say(
            f"a budget of {duration(enough)} gives every stage a tenth of the recipe's steps, "
            f"{duration(whole)} all of them"
        )


def say_cost(run: Run, names: Sequence[str]) -> None:
    """A table of what the stages' own steps would cost."""
    from ..device import describe, fast_dtype
    from ..train.caching import cache_bytes
    from ..train.cost import estimate

    costs = []
    for number, name in enumerate(names, 1):
        with waiting(f"measuring {name} ({number} of {len(names)})"):
            costs.append(estimate(run.recipe, name, run.device))
    with waiting("measuring what a cache takes"):
        kept = {name: cache_bytes(run.recipe, name) for name in names}
    report(stages={one.name: _told(one) for one in costs})
    flop = partial(si, unit="FLOP")
    _print_table(
        costs,
        ("parameters", si, lambda one: one.parameters, sum),
        ("batch", "{:,}".format, lambda one: one.batch_size, None),
        ("steps", "{:,}".format, lambda one: one.steps, sum),
        ("a step", flop, lambda one: one.step_flops + one.update_flops, None),
        ("memory", size, lambda one: one.memory_bytes, partial(max, default=0)),
        ("arithmetic", flop, lambda one: one.total_flops, sum),
        ("time", duration, lambda one: one.seconds, sum),
    )
    precision = str(fast_dtype(run.device)).removeprefix("torch.")
    took, stages = duration(sum(one.seconds for one in costs)), counted(len(costs), "stage")
    say(f"would train {stages} in about {took} on {describe(run.device)}, in {precision}")
    say("time is measured on this machine now, without previews and slow data; a step, the mean of")
    say("all, and memory, the most of any, are of the largest batch")
    for name, count in kept.items():
        if count is not None:
            say(f"{name}: its cache takes about {size(count)}, once for all stages that share it")


def _told(cost: Any) -> dict[str, Any]:
    """What a program learns of a stage's cost."""
    names = ("parameters", "batch_size", "steps", "memory_bytes", "total_flops", "seconds")
    return {name: getattr(cost, name) for name in names}


Number = Callable[[Any], Any]
Column = tuple[str, Callable[[Any], str], Number, Callable[[Iterable[Any]], Any] | None]
"""Heading, number -> text, stage -> number, and numbers -> what stands below them."""


def _print_table(stages: Sequence[Any], *columns: Column) -> None:
    """A row a stage."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True, show_footer=True)
    table.add_column("stage", "all", no_wrap=True)
    for heading, text, value, total in columns:
        foot = text(total(map(value, stages))) if total else ""
        table.add_column(heading, foot, justify="right", no_wrap=True)
    for one in stages:
        table.add_row(one.name, *(text(value(one)) for _, text, value, _ in columns))
    console().print(table)
