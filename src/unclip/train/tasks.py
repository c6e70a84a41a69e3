"""Which task trains a stage."""

from __future__ import annotations

from collections.abc import Callable

from ..diffusion.few_steps import AdversarialObjective, ConsistencyObjective
from ..stages import DiffusionStage, Stage, on_meta
from ..stages.autoencoder import AutoencoderStage
from ..stages.comparing import ComparingStage
from ..stages.upsampler import Upsampler
from .adversarial import AdversarialTask
from .autoencoding import AutoencoderTask
from .contrastive import ContrastiveTask
from .distillation import ConsistencyTask
from .needs import needs_clip, needs_prior
from .recipe import FROM, Recipe, redrawn_by
from .redrawing import Redrawer
from .task import Task


def make_task(recipe: Recipe, name: str, stage: Stage, helper: Callable[[str], Stage]) -> Task:
    """The task of stage `name`; `helper` gives the recipe's CLIP and prior, where it needs them."""
    objective = stage.config.objective if isinstance(stage, DiffusionStage) else None
    judged = isinstance(objective, AdversarialObjective)
    compares = isinstance(stage, AutoencoderStage) and stage.config.clip_weight > 0
    by = redrawn_by(stage.config)
    decoder = helper(by) if by else None
    clip = recipe.clip() if needs_clip(stage, decoder) or judged or compares else None
    prior = recipe.chosen_prior() if needs_prior(stage) else None
    helpers = helper(clip) if clip else None, helper(prior) if prior else None
    if isinstance(objective, ConsistencyObjective):
        teacher = helper(objective.teacher) if objective.teacher else None
        task: Task = (AdversarialTask if judged else ConsistencyTask)(
            stage, *helpers, teacher, name=name
        )
    elif isinstance(stage, ComparingStage):
        task = ContrastiveTask(stage, *helpers, name=name)
    elif isinstance(stage, AutoencoderStage):
        task = AutoencoderTask(stage, helpers[0], name=name)
    else:
        task = Task(stage, *helpers, name=name)
    if decoder is not None:
        assert isinstance(stage, Upsampler)
        task.redrawer = Redrawer(stage, decoder, name)
    return task


def notice(recipe: Recipe, task: Task) -> str:
    """What one may not expect of how a stage is trained, in a line; mostly nothing."""
    stage = recipe.stage(task.name)
    if not isinstance(task, AdversarialTask) or task.teacher or stage.part is None:
        return ""
    where = f"stages.{task.name}"
    return (
        f"{where}.from gives the first weights alone, and the rest is a GAN's: "
        f"{where}.objective.teacher = '{FROM}' distils that model"
    )


def bare(recipe: Recipe, student: str, name: str) -> Stage:
    """A stage without numbers that stage `student` learns with; "from": what that is taken from."""
    origin = recipe.stage(student).origin if name == FROM else None
    return on_meta(origin.config if origin else recipe.stage(name).config)
