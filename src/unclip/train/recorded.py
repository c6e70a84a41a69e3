"""The recipe that a run's folder was last trained with, in its recipe.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import TrainingError, UnclipError
from ..files import write_json
from ..plain import read_json
from .config import minutes_of
from .recipe import Recipe, RecipeSettings
from .saved import Saved

RECIPE = "recipe.json"
"""The file in a run's folder that holds it."""


class Recorded:
    """Writes the recipe of a run, and says what was trained there before."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / RECIPE

    def write(self, recipe: Recipe) -> None:
        """Whole or not at all."""
        write_json(self.file, recipe.dump())

    def values(self) -> dict[str, Any]:
        """As plain values; empty where the folder is new.

        Raises:
            TrainingError: the file is damaged.
        """
        try:
            values = read_json(self.file) if self.file.is_file() else {}
        except (OSError, ValueError) as error:
            raise TrainingError(f"{self.file} is damaged: {error}") from None
        return values if isinstance(values, dict) else {}

    def recipe(self) -> Recipe | None:
        """Parsed; None where it says nothing now. Raises as `values`."""
        values = self.values()
        try:
            return Recipe.parse(values) if values else None
        except UnclipError:  # of an older version, or a model that it begins from is gone
            return None

    def settle(self, recipe: Recipe, saved: Saved) -> Recipe:
        """`recipe` with what a budget has settled before: shares, and the steps of what began."""
        values = self.values()
        budget = recipe.settings.budget or values.get("budget")
        if budget is None or not values:
            return recipe
        before = RecipeSettings.parse(values, str(self.file))
        shared, recipe = recipe.shares(), recipe.with_budget(minutes_of(budget))
        for name in recipe.trained:
            settled = before.stages.get(name, {}).get("train", {})
            keys = [] if shared else ["share"]
            keys += ["steps"] if saved.begun(name) else []
            known = {key: settled[key] for key in keys if settled.get(key) is not None}
            recipe = recipe.with_train(name, **known)
        recipe.shares()
        return recipe
