"""A budget: as many steps of each stage as fit into a given time on this machine.

Each trained stage has a share, a weight in the recipe. Just before a stage begins, the time that
is left is divided among it and the stages after it, and its steps are measured.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from .recipe import Recipe, TrainConfig
    from .run import Run

KEPT = 0.97
"""Part of a stage's time for steps; previews, saving and a busy machine have the rest."""

_LONGEST = 20.0  # seconds that a step is measured over, or a hundredth of the stage's time
_NUMBER = r"(\d+(?:\.\d+)?)\s*"
_TIME = re.compile(rf"(?:{_NUMBER}(?:h|hours?))?\s*(?:{_NUMBER}(?:m|min|minutes?)?)?")

Pace = Callable[[int], float]
"""Batch size -> seconds that a step takes."""


def minutes_of(value: object) -> float:
    """'3h', '90m', '45min', '1h 30min', or plain minutes -> minutes. Raises UsageError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        total = float(value)
    else:
        whole = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
        hours, minutes = (float(part or 0) for part in whole.groups()) if whole else (0.0, 0.0)
        total = 60 * hours + minutes
    if not 0 < total < inf:
        raise UsageError(
            f"a budget is a time such as 3h, 90m, 45min or plain minutes, got {value!r}"
        )
    return total


def seconds_for(config: TrainConfig, pace: Pace, steps: int) -> float:
    """Time of the first `steps` steps, the ramp of batch sizes included."""
    edges = [start for start in config.edges() if start < steps]
    return sum((e - s) * pace(config.batch_at(s)) for s, e in pairwise([*edges, steps]))


def steps_within(config: TrainConfig, pace: Pace, seconds: float) -> int:
    """The most steps that take no more than `seconds`, the ramp of batch sizes included."""
    for start, end in pairwise([*config.edges(), inf]):
        each = pace(config.batch_at(int(start)))
        count = int(max(0.0, seconds / each + 1e-6))  # a whole number of steps stays whole
        if count < end - start:
            return int(start) + count
        seconds -= (end - start) * each
    raise AssertionError("the last stretch of a ramp has no end")


@dataclass(frozen=True)
class Stint:
    """What a budget gives one stage."""

    name: str
    steps: int
    samples: int
    seconds: float  # that its steps take


def plan(run: Run, names: Iterable[str]) -> tuple[Stint, ...]:
    """What the budget of a run that has not begun gives some of its stages.

    Steps are measured on the recipe's data, with networks that are thrown away.

    Raises:
        UsageError: not one step of a stage fits into its share, or some have no share.
        DataError: the data are not there.
    """
    recipe, paces = _with_shares(run)
    shares = recipe.shares()
    each = _budget(recipe) / sum(shares.values())
    return tuple(_stint(run, name, each * shares[name], paces.get(name)) for name in names)


def fit(run: Run, name: str) -> Recipe:
    """The run's recipe with as many steps of a stage as fit into its share of what is left.

    The stages already begun have what they have taken and, where not finished, will take.

    Raises:
        UsageError: not one step fits, or some stages have no share.
    """
    started = time.monotonic()
    recipe, paces = _with_shares(run)
    shares = {one: s for one, s in recipe.shares().items() if one == name or not run.begun(one)}
    left = _budget(recipe) - run.spent() - (time.monotonic() - started)
    stint = _stint(run, name, left * shares[name] / sum(shares.values()), paces.get(name))
    return recipe.with_train(name, steps=stint.steps)


def _budget(recipe: Recipe) -> float:
    """In seconds."""
    assert recipe.budget is not None
    return 60 * recipe.budget


def _with_shares(run: Run) -> tuple[Recipe, dict[str, Pace]]:
    """The recipe with shares; where it has none, what its own steps take, and those paces."""
    recipe, paces = run.recipe, dict[str, Pace]()
    if recipe.shares():
        return recipe, paces
    for name in recipe.trained:
        config = recipe.train(name)
        paces[name] = _measured(run, name, _budget(recipe) / len(recipe.trained))
        cost = seconds_for(config, paces[name], config.steps)
        recipe = recipe.with_train(name, share=float(f"{cost:.4g}"))
    return recipe, paces


def _measured(run: Run, name: str, seconds: float) -> Pace:
    """As `_pace`, but every size at once: no trainer and none of its workers stay behind."""
    config, pace = run.recipe.train(name), _pace(run, name, seconds)
    return {size: pace(size) for size in map(config.batch_at, config.edges())}.__getitem__


def _stint(run: Run, name: str, seconds: float, pace: Pace | None) -> Stint:
    """As much of a stage as fits into `seconds`, from which its own measurement goes off."""
    config, started = run.recipe.train(name), time.monotonic()
    if seconds <= 0:
        raise UsageError(f"the budget is used up before stage '{name}'; resume with a larger one")
    pace = pace or _pace(run, name, seconds)
    first = pace(config.batch_at(0))
    steps = steps_within(config, pace, KEPT * (seconds - (time.monotonic() - started)))
    if steps < 1:
        raise UsageError(
            f"the budget is too short: a step of stage '{name}' takes {first:.2g} s, "
            f"and its share is {seconds:.2g} s with the measurement; give a larger one"
        )
    samples = seconds_for(config, float, steps)  # a second a sample
    return Stint(name, steps, int(samples), seconds_for(config, pace, steps))


def _pace(run: Run, name: str, seconds: float) -> Pace:
    """Measures steps of a stage that has `seconds`, each batch size once."""
    trainer, window = run.untrained(name), min(_LONGEST, seconds / 100)
    return cache(lambda size: trainer.seconds_per_step(size, window))
