"""A budget: as many steps of each stage as fit into a given time on this machine.

Each trained stage has a share, a weight in the recipe. Just before a stage begins, the time that
is left is divided among it and the stages after it, and its steps are measured.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import cache

from ..errors import UsageError
from .clock import Clock
from .config import TrainConfig
from .recipe import Recipe

KEPT = 0.97
"""Part of a stage's time for steps; previews, saving and a busy machine have the rest."""

_LONGEST = 20.0  # seconds that a step is measured over, or a hundredth of the stage's time

Pace = Callable[[int], float]
"""Batch size -> seconds that a step takes."""

Measure = Callable[[str], Callable[[int, float], float]]
"""Stage -> (batch size, seconds to measure for) -> seconds that a step takes."""


def seconds_for(config: TrainConfig, pace: Pace, steps: int) -> float:
    """Time of the first `steps` steps, the ramp of batch sizes included."""
    return sum(count * pace(size) for count, size in config.stretches(steps))


def steps_within(config: TrainConfig, pace: Pace, seconds: float) -> int:
    """The most steps that take no more than `seconds`, the ramp of batch sizes included."""
    start = 0
    for count, size in config.stretches():
        fitting = int(max(0.0, seconds / pace(size) + 1e-6))  # a whole number stays whole
        if fitting < count:
            return start + fitting
        start, seconds = start + int(count), seconds - count * pace(size)
    raise AssertionError("the last stretch of a ramp has no end")


@dataclass(frozen=True)
class Allocation:
    """What a budget gives one stage."""

    name: str
    steps: int
    samples: int
    seconds: float  # that its steps take


@dataclass(frozen=True)
class Budget:
    """Divides a recipe's time among its stages, by steps that `measure` takes the time of."""

    recipe: Recipe
    measure: Measure
    clock: Clock = field(default_factory=Clock)

    def allocate(self, names: Iterable[str]) -> list[Allocation]:
        """What some stages get of a run that has not begun.

        Raises:
            UsageError: not one step of a stage fits into its share, or some have no share.
            DataError: the data are not there.
        """
        shares, paces = self._shares()
        each = self._seconds / sum(shares.values())
        return [self._allocation(name, each * shares[name], paces.get(name)) for name in names]

    def fit(self, name: str, begun: Collection[str], spent: float) -> Recipe:
        """The recipe with as many steps of a stage as fit into its share of what is left.

        Args:
            name: the stage.
            begun: other stages that are not to be shared with.
            spent: seconds that these took and will take.

        Raises:
            UsageError: not one step fits, or some stages have no share.
        """
        started = self.clock.now()
        shares, paces = self._shares()
        recipe = self.recipe
        for one in paces:
            recipe = recipe.with_train(one, share=shares[one])
        left = self._seconds - spent - (self.clock.now() - started)
        part = shares[name] / sum(share for one, share in shares.items() if one not in begun)
        given = self._allocation(name, left * part, paces.get(name))
        return recipe.with_train(name, steps=given.steps)

    @property
    def _seconds(self) -> float:
        assert self.recipe.settings.budget is not None
        return 60 * self.recipe.settings.budget

    def _shares(self) -> tuple[dict[str, float], dict[str, Pace]]:
        """Shares; where the recipe has none, what its own steps take, and those paces."""
        shares, paces = self.recipe.shares(), dict[str, Pace]()
        if shares:
            return shares, paces
        trained = self.recipe.trained
        for name, config in trained.items():
            pace = self._pace(name, self._seconds / len(trained))
            # every size at once: no trainer and none of its workers stay behind
            paces[name] = {size: pace(size) for _, size in config.stretches()}.__getitem__
            shares[name] = float(f"{seconds_for(config, paces[name], config.steps):.4g}")
        return shares, paces

    def _allocation(self, name: str, seconds: float, pace: Pace | None) -> Allocation:
        """As much of a stage as fits into `seconds`, from which its own measurement goes off."""
        config, started = self.recipe.trained[name], self.clock.now()
        if seconds <= 0:
            raise UsageError(
                f"the budget is used up before stage '{name}'; resume with a larger one"
            )
        pace = pace or self._pace(name, seconds)
        first = pace(config.batch_at(0))
        steps = steps_within(config, pace, KEPT * (seconds - (self.clock.now() - started)))
        if steps < 1:
            raise UsageError(
                f"the budget is too short: a step of stage '{name}' takes {first:.2g} s, "
                f"and its share is {seconds:.2g} s with the measurement; give a larger one"
            )
        samples = int(seconds_for(config, float, steps))  # a second a sample
        return Allocation(name, steps, samples, seconds_for(config, pace, steps))

    def _pace(self, name: str, seconds: float) -> Pace:
        """Measures steps of a stage that has `seconds`, each batch size once."""
        measured, window = self.measure(name), min(_LONGEST, seconds / 100)
        return cache(lambda size: measured(size, window))
