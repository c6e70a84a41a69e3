"""How a run spends its budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

from .budget import KEPT, Allocation, Budget
from .clock import Clock
from .config import TrainConfig
from .recipe import Recipe
from .trainer import Trainer
from .world import World


class Spending(ABC):
    """The part of a run that gives its stages time."""

    recipe: Recipe
    clock: Clock
    world: World

    @abstractmethod
    def begun(self, name: str) -> bool:
        """Whether there is a saved state of a stage to go on with."""

    @abstractmethod
    def spent(self) -> float:
        """Seconds that the stages begun took or will take."""

    @abstractmethod
    def untrained(self, name: str) -> Trainer:
        """A trainer to measure with."""

    @abstractmethod
    def _seconds(self, name: str) -> float: ...

    @abstractmethod
    def _record(self) -> None: ...

    @cached_property
    def budget(self) -> Budget:
        """Divides the time, by steps that are measured once."""
        return Budget(lambda name: self.untrained(name).seconds_per_step, self.clock)

    def allocate(self) -> dict[str, Allocation]:
        """What the budget gives each stage that has not begun. Raises as `trainer`."""
        return self.budget.plan(self.recipe, self._begun, self.spent())

    def fitted(self, name: str) -> tuple[Recipe, float]:
        """The recipe with as many steps of a stage as fit into its share of the budget's rest.

        And the seconds of that share.
        """
        plan, recipe = self.allocate(), self.recipe  # each process has measured for itself
        shares = self.budget.shares(recipe, self._begun)
        told = self.world.first(lambda: (plan[name].steps, plan[name].given, shares))
        for one, share in told[2].items():
            recipe = recipe.with_train(one, share=share)
        return recipe.with_train(name, steps=told[0]), told[1]

    @property
    def _begun(self) -> list[str]:
        return [one for one in self.recipe.trained if self.begun(one)]

    def _allowance(self, name: str) -> float:
        """Seconds that the budget gives a stage, whose steps are worked out if it has not begun."""
        if self.begun(name):
            return self.world.first(lambda: self._seconds(name) / KEPT)
        self.recipe, seconds = self.fitted(name)
        self.world.first(self._record)
        return seconds

    def _with_steps(self, name: str, steps: int) -> TrainConfig:
        """Let a stage that trains have other steps, and write them down."""
        self.recipe = self.recipe.with_train(name, steps=steps)
        self.world.first(self._record)
        return self.recipe.trained[name]
