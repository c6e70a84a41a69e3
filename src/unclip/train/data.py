"""The data as a stage sees them: cut, mirrored and put into buckets as the recipe says."""

from __future__ import annotations

from ..data import Source
from ..data.buckets import Bucketed, framed, stepped
from ..data.framing import FrameSettings
from ..data.split import held_out, split
from ..errors import UsageError
from ..stages import Stage
from ..stages.decoder import Decoder
from .config import TrainConfig
from .recipe import Recipe
from .section import by_position, source_of
from .task import Task
from .validation import Pairs


def seen_by(recipe: Recipe, name: str, task: Task) -> Source:
    """The samples that a stage is trained on: what is not held out, cut and in buckets.

    Aspect buckets are a decoder's. CLIP sees squares, and so does who learns from what CLIP says;
    an upsampler sees crops of squares.

    Raises:
        UsageError: the stage cannot be trained on pictures of several shapes, or the source gives
            none; or nothing can be held out of it.
        DataError: the data are not there.
    """
    config, stage, size = recipe.trained[name], task.stage, task.source_size
    settings, source = framing_of(recipe.framing, stage), recipe.source(size)
    validation = recipe.settings.validation
    if validation and validation.share:
        source = split(by_position(source), validation.share)
    if not settings.buckets:
        return framed(source, settings, size)
    check_buckets(name, stage, config)
    return framed(source, settings, size, config.batch_at(0), size_step(stage))


def measured_by(recipe: Recipe, task: Task) -> Pairs | None:
    """What a stage's validation measures: held out pictures, each in its middle and not mirrored.

    In aspect buckets each has the size of its own.

    Raises:
        UsageError: the source has no random access, or no pictures for buckets.
        DataError: the data are not there, nothing is held out, or everything.
    """
    config = recipe.settings.validation
    if config is None:
        return None
    stage, size, given = task.stage, task.source_size, recipe.settings.data
    if config.data is None:
        source = by_position(recipe.source(size))
    else:
        source = by_position(source_of(config.data, size, "validation.data"))
        given = {**given, **config.data}
    settings = framing_of(FrameSettings.of(given), stage)
    if not settings.buckets:
        return Pairs(source, held_out(source, config.share or 1.0, config.pairs))
    if config.share:
        source = split(source, config.share, held=True)
    seen = framed(source, settings.still, size, step=size_step(stage))
    assert isinstance(seen, Bucketed)
    return Pairs(seen, range(min(config.pairs, seen.count)))


def framing_of(settings: FrameSettings, stage: Stage) -> FrameSettings:
    """How a stage sees pictures: in aspect buckets only where it is a decoder."""
    return settings.model_copy(update={"buckets": settings.buckets and isinstance(stage, Decoder)})


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
