"""What is known to be wrong with a stage before anything trains: found without its weights."""

from __future__ import annotations

from functools import partial

import torch

from ..data import Source
from ..data.buckets import check_framing, framed
from ..diffusion.few_steps import AdversarialObjective
from ..errors import UsageError
from ..stages import DiffusionStage, on_meta
from .caching import encoders, stored_source
from .crops import check_crops
from .data import check_buckets_of, framing_of, measured_by
from .distillation import check_levels
from .frozen import freeze
from .lora import learn_low_rank
from .recipe import Recipe
from .task import Task
from .tasks import bare, make_task


def check_stage(recipe: Recipe, name: str) -> Task:
    """A trained stage's task on `meta`.

    Raises:
        UsageError: it cannot be built, cannot learn with the stages that it needs, or its settings
            do not fit together.
    """
    stage, config, where = (
        on_meta(recipe.stages[name].config),
        recipe.trained[name],
        f"stages.{name}",
    )
    with torch.device("meta"):
        task = make_task(recipe, name, stage, partial(bare, recipe, name))
        if config.lora:
            learn_low_rank(stage.net, config.lora, where)
    if isinstance(stage, DiffusionStage):
        check_levels(stage.config, f"{where}.objective")
        _check_mask(recipe, stage)
    check_buckets_of(recipe, name, stage)
    check_crops(recipe, name, task)
    freeze(stage.net, config.freeze, where)
    return task


def _check_mask(recipe: Recipe, stage: DiffusionStage) -> None:
    """Raise UsageError where a critic would take for true what does not count."""
    objective = stage.config.objective
    masked = getattr(recipe.data, "mask", None) and "image" in stage.produces
    if masked and isinstance(objective, AdversarialObjective):
        raise UsageError(
            "setting 'data.mask' has no effect with objective 'adversarial', whose critic looks at "
            "whole pictures: leave it out, or learn by objective 'consistency'"
        )


def check_samples(recipe: Recipe, task: Task, source: Source) -> None:
    """Check that the data can be cut, kept and held out as a stage wants them.

    Whether each picture can be read is not looked at.

    Raises:
        UsageError: they cannot.
        DataError: those of validation are not there, or nothing is held out.
    """
    settings, name = framing_of(recipe.framing, task.stage), task.name
    check_framing(source, settings)
    if recipe.trained[name].cache and encoders(task):
        whole = settings.model_copy(update={"buckets": False})
        stored_source(framed(source, whole, task.source_size), name)
    measured_by(recipe, task)
