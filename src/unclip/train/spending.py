"""How a run spends its budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import TrainingError
from .budget import KEPT, Allocation, Budget
from .clock import Clock
from .config import TrainConfig
from .recipe import Recipe
from .state import load_values, saved_states, step_of
from .trainer import Trainer
from .world import World


class Spending(ABC):
    """The part of a run that gives its stages time."""

    recipe: Recipe
    folder: Path
    clock: Clock
    world: World

    @abstractmethod
    def begun(self, name: str) -> bool:
        """Whether there is a saved state of a stage to go on with."""

    @abstractmethod
    def untrained(self, name: str) -> Trainer:
        """A trainer to measure with."""

    @abstractmethod
    def _record(self) -> None: ...

    @cached_property
    def budget(self) -> Budget:
        """Divides the time, by steps that are measured once."""
        return Budget(lambda name: self.untrained(name).seconds_per_step, self.clock)

    def allocate(self) -> dict[str, Allocation]:
        """What the budget gives each stage that has not begun. Raises as `trainer`.

        Each process measures; the first, by its own pace, plans for all.
        """
        self.budget.shares(self.recipe, self._begun)
        told = self.world.first(
            lambda: {
                name: asdict(one)
                for name, one in self.budget.plan(self.recipe, self._begun, self.spent()).items()
            }
        )
        return {name: Allocation(**one) for name, one in told.items()}

    def fitted(self, name: str) -> tuple[Recipe, float]:
        """The recipe with as many steps of a stage as fit into its share of the budget's rest.

        And the seconds of that share.
        """
        given, recipe = self.allocate()[name], self.recipe
        shares = self.world.first(lambda: self.budget.shares(recipe, self._begun))
        for one, share in shares.items():
            recipe = recipe.with_train(one, share=share)
        return recipe.with_train(name, steps=given.steps), given.given

    def spent(self) -> float:
        """Seconds that the stages begun took or, where not finished, will take at this pace.

        Raises:
            TrainingError: a saved state is damaged.
        """
        return sum(self._seconds(name) for name in filter(self.begun, self.recipe.trained))

    def _seconds(self, name: str) -> float:
        state = saved_states(self.folder / name / "states")[-1]
        steps = self.recipe.trained[name].steps
        try:
            seconds, done = float(load_values(state)["seconds"]), step_of(state)
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"{state / 'state.json'} is damaged: {error!r}") from None
        if done >= steps:
            return seconds
        if given := self.allowed(name):
            return max(seconds, given)
        built = float(self.facts(name).get("built", 0.0))  # once, however many steps come
        return built + (seconds - built) / done * steps

    def allowed(self, name: str) -> float | None:
        """Seconds that the budget gave a stage that has begun, where its state says so."""
        given = self.facts(name).get("allowance")
        return None if given is None else float(given)

    def facts(self, name: str) -> dict[str, Any]:
        """What a stage's newest state says beside its training; empty before the first.

        `base` names what the stage was begun from, `allowance` are the seconds that a budget gave
        it, `built` those that passed before its steps.
        """
        for state in reversed(saved_states(self.folder / name / "states")):
            with suppress(TrainingError):  # it is damaged, and the one before it is taken
                facts = load_values(state).get("facts", {})
                return facts if isinstance(facts, dict) else {}
        return {}

    @property
    def _begun(self) -> list[str]:
        return [one for one in self.recipe.trained if self.begun(one)]

    def _allowance(self, name: str) -> float:
        """Seconds that the budget gives a stage, whose steps are worked out if it has not begun."""
        if self.begun(name):
            return self.world.first(lambda: self.allowed(name) or self._seconds(name) / KEPT)
        self.recipe, seconds = self.fitted(name)
        self.world.first(self._record)
        return seconds

    def _with_steps(self, name: str, steps: int) -> TrainConfig:
        """Let a stage that trains have other steps, and write them down."""
        self.recipe = self.recipe.with_train(name, steps=steps)
        self.world.first(self._record)
        return self.recipe.trained[name]
