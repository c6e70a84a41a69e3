"""A budget: as many steps of each stage as fit into a given time on this machine.

Each trained stage has a share, a weight in the recipe. Steps of all of them are measured before the
first begins. Just before a stage begins, the time that is left is divided among it and those after
it, and as it trains its steps follow its pace. However small its share, every stage has time for a
tenth of the recipe's own steps, if there is so much for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from ..errors import UnclipError, UsageError
from .clock import Clock
from .config import TrainConfig
from .recipe import Recipe

KEPT = 0.97
"""Part of a stage's time for steps; saving and a busy machine have the rest."""

LITTLE = 0.1
"""Share of the recipe's own steps that a stage gets first; with less it hardly learns."""

_LONGEST = 20.0  # seconds that a step is measured over, or a hundredth of the stages' mean time

_PART = 20  # or this part of the time until training stops

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


def by_shares(
    seconds: float, shares: Mapping[str, float], floors: Mapping[str, float]
) -> dict[str, float]:
    """Time by shares, of which nobody gets less than its floor.

    Where there is not enough for all floors, all get the same part of theirs.
    """
    fixed: dict[str, float] = {}
    while len(fixed) < len(shares):
        free = {name: share for name, share in shares.items() if name not in fixed}
        each = (seconds - sum(fixed.values())) / sum(free.values())
        low = [name for name, share in free.items() if each * share < floors[name]]
        if not low:
            return {name: fixed.get(name, each * share) for name, share in shares.items()}
        fixed |= {name: floors[name] for name in low}
    scale = seconds / sum(floors.values())
    return {name: scale * floor for name, floor in floors.items()}


class TimeIsUp(UnclipError):
    """The time until training stops went by while steps were measured."""

    exit_code = 3

    @classmethod
    def while_measuring(cls, name: str) -> TimeIsUp:
        """Those of a stage."""
        return cls(f"stopped before the steps of '{name}' were measured")


@dataclass(frozen=True)
class Allocation:
    """What a budget gives one stage."""

    name: str
    steps: int
    samples: int
    seconds: float  # that its steps take
    given: float  # seconds in all
    own: int  # steps that the recipe itself names

    @property
    def is_little(self) -> bool:
        """Whether the stage will hardly learn."""
        return self.steps < LITTLE * self.own


@dataclass
class Budget:
    """Divides a recipe's time among its stages, by steps that `measure` takes the time of.

    Where the clock says that it is over, measuring ends with `TimeIsUp`.
    """

    measure: Measure
    clock: Clock = field(default_factory=Clock)
    paces: dict[str, Pace] = field(default_factory=dict)
    measuring: float = 0.0  # seconds that it took
    waiting: Callable[[str], AbstractContextManager[None]] = lambda what: nullcontext()

    def plan(
        self, recipe: Recipe, begun: Collection[str] = (), spent: float = 0.0
    ) -> dict[str, Allocation]:
        """What each stage gets that has not begun.

        Args:
            recipe: one with a budget.
            begun: the stages that have.
            spent: seconds that these took and will take.

        Raises:
            UsageError: not one step of a stage fits, or some stages have no share.
            DataError: the data are not there.
        """
        trained = recipe.trained
        shares = self.shares(recipe, begun)
        waiting = {name: shares[name] for name in trained if name not in begun}
        floors = {name: self._floor(name, trained[name]) for name in waiting}
        left = 60 * (recipe.settings.budget or 0.0) - spent - self.measuring
        if begun:  # what others took too long for is not taken away from the floors
            left = max(left, sum(floors.values()))
        given = by_shares(left, waiting, floors)
        return {name: self._allocation(name, trained[name], given[name], recipe) for name in given}

    def shares(self, recipe: Recipe, begun: Collection[str] = ()) -> dict[str, float]:
        """Each trained stage's share; where the recipe has none, what its own steps take."""
        trained, shares = recipe.trained, recipe.shares()
        for name in trained:
            if name not in begun or not shares:
                self._measured(name, trained[name], recipe)
        own = {name: self._own(name, one) for name, one in trained.items() if not shares}
        return shares or {name: float(f"{seconds:.4g}") for name, seconds in own.items()}

    def enough(self, recipe: Recipe) -> float:
        """Minutes in which every stage takes `LITTLE` of the recipe's own steps."""
        own = [self._own(name, one) for name, one in recipe.trained.items()]
        return LITTLE * sum(own) / KEPT / 60

    def least(self, recipe: Recipe) -> float:
        """Minutes in which every stage takes a step, beside the measuring: see `by_shares`."""
        floors = {name: self._floor(name, one) for name, one in recipe.trained.items()}
        steps = {name: self.paces[name](one.batch_at(0)) for name, one in recipe.trained.items()}
        scale = max(steps[name] / (KEPT * floor) for name, floor in floors.items())
        return (scale * sum(floors.values()) + self.measuring) / 60

    def whole(self, recipe: Recipe) -> float:
        """Minutes in which every stage takes the recipe's own steps, by its shares."""
        shares = self.shares(recipe)
        own = [self._own(name, one) / shares[name] for name, one in recipe.trained.items()]
        return max(own) * sum(shares.values()) / KEPT / 60

    def _own(self, name: str, config: TrainConfig) -> float:
        """Seconds that the recipe's own steps of a stage take."""
        return seconds_for(config, self.paces[name], config.steps)

    def _floor(self, name: str, config: TrainConfig) -> float:
        return seconds_for(config, self.paces[name], math.ceil(LITTLE * config.steps)) / KEPT

    def _measured(self, name: str, config: TrainConfig, recipe: Recipe) -> None:
        """Measure a stage, each batch size once: no trainer and no worker of it stays behind."""
        if name in self.paces:
            return
        if self.clock.is_over():
            raise TimeIsUp.while_measuring(name)
        started = self.clock.now()
        each = 60 * (recipe.settings.budget or 0.0) / len(recipe.trained)
        left = (self.clock.deadline - started) / _PART
        window = min(_LONGEST, each / 100, left)
        sizes = dict.fromkeys(size for _, size in config.stretches())
        with self.waiting(f"measuring {name} ({1 + len(self.paces)} of {len(recipe.trained)})"):
            measured = self.measure(name)
            self.paces[name] = {size: measured(size, window) for size in sizes}.__getitem__
        self.measuring += self.clock.now() - started

    def _allocation(
        self, name: str, config: TrainConfig, seconds: float, recipe: Recipe
    ) -> Allocation:
        pace = self.paces[name]
        steps = steps_within(config, pace, KEPT * seconds)
        if steps < 1:
            raise UsageError(
                f"the budget is too short: a step of stage '{name}' takes "
                f"{pace(config.batch_at(0)):.2g} s, and its share is {max(0.0, seconds):.2g} s; "
                f"{self.least(recipe):.2g} minutes give every stage a step, "
                f"{self.enough(recipe):.2g} minutes a tenth of its own"
            )
        samples = int(seconds_for(config, float, steps))  # a second a sample
        took = seconds_for(config, pace, steps)
        return Allocation(name, steps, samples, took, seconds, config.steps)


@dataclass
class Pacer:
    """Keeps a stage that trains within its time: as its pace changes, its steps do.

    Args:
        seconds: of the stage, on its trainer's own count, which goes on when it is resumed.
        tell: called with the new number of steps, and gives the configuration with them.
        ahead: shares of the training that were done at the last look and are done now -> time of
            the mean step of the rest, as a share of that of the steps between the two.
    """

    seconds: float
    tell: Callable[[int], TrainConfig]
    ahead: Callable[[float, float], float] = lambda then, now: 1.0
    _since: tuple[int, float] | None = None  # the step and the time of the last look

    def steps(
        self, config: TrainConfig, step: int, now: float, aside: float, beside: float = 0.0
    ) -> int:
        """How many steps fit by the pace since the last look; as before between two looks.

        Args:
            config: how the stage is trained now.
            step: how many steps are done.
            now: seconds that the stage has taken.
            aside: seconds still to be spent on other things than steps.
            beside: seconds that each step takes on average beside its own.
        """
        if self._since is None:
            self._since = step, now
        before, then = self._since
        if step == before or now - then < max(2.0, self.seconds / 40):
            return config.steps
        self._since = step, now
        samples = seconds_for(config, float, step) - seconds_for(config, float, before)
        each = (now - then) / samples * self.ahead(before / config.steps, step / config.steps)

        def pace(size: int) -> float:
            return each * size + beside

        left = KEPT * self.seconds - now - aside
        fitting = steps_within(config, pace, seconds_for(config, pace, step) + max(0.0, left))
        small = abs(fitting - config.steps) <= 0.02 * (config.steps - step)
        return config.steps if small else max(fitting, step + 1)

    def skip(self, seconds: float) -> None:
        """So much of the time since the last look went to other things than steps."""
        if self._since is not None:
            self._since = self._since[0], self._since[1] + seconds

    def restart(self) -> None:
        """What happened since the last look says nothing of the pace."""
        self._since = None
