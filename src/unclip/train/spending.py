"""How a run spends its budget."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from .budget import KEPT, Allocation, Budget
from .recipe import Recipe
from .saved import Saved
from .world import World


@dataclass(frozen=True)
class Spending:
    """Gives the stages of a recipe their time, by what those that have begun took.

    Args:
        budget: divides the time, by steps that are measured once.
        saved: what the stages' states say.
        world: the processes that train together. Each measures; the first, by its own pace, plans
            for all.
    """

    budget: Budget
    saved: Saved
    world: World

    def allocate(self, recipe: Recipe) -> dict[str, Allocation]:
        """What the budget gives each stage that has not begun. Raises as `Run.trainer`."""
        begun = self._begun(recipe)
        self.budget.shares(recipe, begun)
        told = self.world.first(
            lambda: {
                name: asdict(one)
                for name, one in self.budget.plan(recipe, begun, self.spent(recipe)).items()
            }
        )
        return {name: Allocation(**one) for name, one in told.items()}

    def fitted(self, recipe: Recipe, name: str) -> tuple[Recipe, float]:
        """The recipe with as many steps of a stage as fit into its share of the budget's rest.

        And the seconds of that share.
        """
        given, before = self.allocate(recipe)[name], recipe
        shares = self.world.first(lambda: self.budget.shares(before, self._begun(before)))
        for one, share in shares.items():
            recipe = recipe.with_train(one, share=share)
        return recipe.with_train(name, steps=given.steps), given.given

    def spent(self, recipe: Recipe) -> float:
        """Seconds that the stages begun took or, where not finished, will take at this pace.

        Raises:
            TrainingError: a saved state is damaged.
        """
        return sum(self._seconds(recipe, name) for name in self._begun(recipe))

    def allowance(self, recipe: Recipe, name: str) -> float:
        """Seconds in all for a stage that has begun."""
        return self.world.first(
            lambda: self.saved.allowed(name) or self._seconds(recipe, name) / KEPT
        )

    def _seconds(self, recipe: Recipe, name: str) -> float:
        return self.saved.seconds(name, recipe.trained[name].steps)

    def _begun(self, recipe: Recipe) -> list[str]:
        return [one for one in recipe.trained if self.saved.begun(one)]
