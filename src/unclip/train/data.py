"""The data as a stage sees them: cut, mirrored and put into buckets as the recipe says."""

from __future__ import annotations

from ..data import Source
from ..data.buckets import framed, stepped
from ..data.framing import FrameSettings
from ..errors import UsageError
from ..stages import Stage
from ..stages.decoder import Decoder
from .config import TrainConfig
from .recipe import Recipe
from .task import Task


def seen_by(recipe: Recipe, name: str, task: Task) -> Source:
    """The samples that a stage is trained on.

    Aspect buckets are a decoder's. CLIP sees squares, and so does who learns from what CLIP says;
    an upsampler sees crops of squares.

    Raises:
        UsageError: the stage cannot be trained on pictures of several shapes, or the source gives
            none.
        DataError: the data are not there.
    """
    config, stage = recipe.trained[name], task.stage
    settings, size = framing_of(recipe, stage), task.source_size
    if not settings.buckets:
        return framed(recipe.source(size), settings, size)
    check_buckets(name, stage, config)
    return framed(recipe.source(size), settings, size, config.batch_at(0), size_step(stage))


def framing_of(recipe: Recipe, stage: Stage) -> FrameSettings:
    """How a stage sees the pictures: in aspect buckets only where it is a decoder."""
    if isinstance(stage, Decoder):
        return recipe.framing
    return recipe.framing.model_copy(update={"buckets": False})


def size_step(stage: Stage) -> int:
    """What the sides of a decoder's pictures are multiples of."""
    assert isinstance(stage, Decoder)
    latents, network = stage.config.latents, stage.config.network
    return int(network.size_unit * latents.factor if latents else network.size_unit)


def check_buckets(name: str, stage: Stage, config: TrainConfig) -> None:
    """Raise UsageError where a decoder cannot be trained in aspect buckets."""
    assert isinstance(stage, Decoder)
    if config.ramp:
        raise UsageError(
            f"setting 'stages.{name}.train.ramp' must be empty with data.buckets: every batch has "
            "one size, and as many pictures"
        )
    if stage.config.network.aligns:
        raise UsageError(
            f"setting 'stages.{name}.network.align_dim' must be 0 with data.buckets: CLIP's "
            "patches are those of a square"
        )


def check_buckets_of(recipe: Recipe, name: str, stage: Stage) -> None:
    """Raise UsageError where a stage cannot be trained on pictures as the recipe wants them."""
    settings = recipe.framing
    if settings.buckets and isinstance(stage, Decoder):
        check_buckets(name, stage, recipe.trained[name])
        stepped(settings, size_step(stage))
