"""Which task trains a stage."""

from __future__ import annotations

from collections.abc import Callable

from ..diffusion.objective import AdversarialObjective, ConsistencyObjective
from ..stages import DiffusionStage, Stage
from .adversarial import AdversarialTask
from .distillation import ConsistencyTask
from .recipe import Recipe
from .task import Task, needs_clip, needs_prior


def make_task(recipe: Recipe, stage: Stage, helper: Callable[[str], Stage]) -> Task:
    """The task of a stage; `helper` gives the recipe's CLIP and prior, where it needs them."""
    objective = stage.config.objective if isinstance(stage, DiffusionStage) else None
    judged = isinstance(objective, AdversarialObjective)
    clip = recipe.clip() if needs_clip(stage) or judged else None
    prior = recipe.chosen_prior() if needs_prior(stage) else None
    helpers = helper(clip) if clip else None, helper(prior) if prior else None
    if isinstance(objective, ConsistencyObjective):
        teacher = helper(objective.teacher) if objective.teacher else None
        return (AdversarialTask if judged else ConsistencyTask)(stage, *helpers, teacher)
    return Task(stage, *helpers)
