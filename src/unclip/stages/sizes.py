"""Models that draw pictures of another size than they were trained on, or pictures that tile."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from ..errors import UsageError
from .decoder import Decoder
from .model import Model
from .stage import Stage
from .upsampler import AnyUpsampler

Size = tuple[int, int]
"""(height, width)."""


def size_unit(model: Model) -> int | None:
    """What both sides of its pictures are multiples of; None where it draws one size alone."""
    unit, factor = 1, 1
    for stage in reversed(model.image_stages.values()):
        own = _unit_of(stage)
        if own is None:
            return None
        unit = math.lcm(unit, own * factor)
        factor *= stage.factor
    return unit


def _unit_of(stage: Stage) -> int | None:
    if isinstance(stage, AnyUpsampler):  # trained on crops, so that any size will do
        return math.lcm(stage.config.network.unit, stage.factor)
    if not isinstance(stage, Decoder):
        return None
    config = stage.config
    if not getattr(config, "resizes", config.network.resizes):  # it knows the size that it has seen
        return None
    return config.network.size_unit * (config.latents.factor if config.latents else 1)


def enlarging(model: Model, size: Size, between: bool = False) -> Model:
    """The same with as many of its optional upsamplers as (height, width) asks for.

    `between`: also where their pictures are larger than that, and of its proportions, while the
    model's own are smaller. The model itself where they do not help.
    """
    lies_between = between and _alike(size, model.size) and model.size < size
    for larger in _enlargements(model):
        if size == larger.size or (lies_between and size < larger.size):
            return larger
    return model


def covering(model: Model, size: Size) -> Size | None:
    """The first size of its optional upsamplers that covers (height, width), or their largest.

    None where the model's own does, or it has none of them.
    """
    found = None
    for larger in (model, *_enlargements(model)):
        if larger is not model:
            found = larger.size
        if size[0] <= larger.size[0] and size[1] <= larger.size[1]:
            break
    return found


def _enlargements(model: Model) -> Iterator[Model]:
    """The same with one of its optional upsamplers, with two, ..."""
    for name in model.waiting:
        pixels = model.enlarged * model.stages[name].factor ** 2
        model = replace(model, running=(*model.running, name), enlarged=pixels)
        yield model


def _alike(one: Size, other: Size) -> bool:
    """Whether two sizes have the same proportions."""
    return one[0] * other[1] == one[1] * other[0]


def resized(model: Model, size: Size) -> Model:
    """The same, drawing pictures of (height, width). Raises UsageError where it cannot."""
    if size == model.size:
        return model
    unit = _need_unit(model, f"size {words(size)}")
    if any(side % unit for side in size):
        raise UsageError(
            f"size {words(size)} is not possible: sides must be multiples of {unit}; "
            f"the nearest is {words(_rounded(size, unit))}"
        )
    stages = dict(model.stages)
    for name, its in stage_sizes(model, size).items():
        if isinstance(stage := stages[name], Decoder):
            stages[name] = _drawing(stage, its)
    enlarged = model.enlarged * math.prod(size) / math.prod(model.size)
    return replace(model, stages=stages, drawn=size, enlarged=enlarged)


def stage_sizes(model: Model, size: Size) -> dict[str, Size]:
    """What each stage draws of a picture that comes out in (height, width)."""
    sizes, (height, width) = dict[str, Size](), size
    for name, stage in reversed(model.image_stages.items()):
        sizes[name] = height, width
        height, width = height // stage.factor, width // stage.factor
    return sizes


def _drawing(stage: Decoder, size: Size) -> Decoder:
    other = object.__new__(type(stage))  # `copy` would read the weights
    vars(other).update(vars(stage), drawn=size)
    return other


def of_aspect(model: Model, aspect: float) -> Size:
    """The size with about as many pixels as the model's own and this width / height.

    Raises:
        UsageError: the model cannot draw it.
    """
    height, width = model.size
    if width == height * aspect:
        return height, width
    unit, area = _need_unit(model, "another aspect"), height * width
    return _rounded((math.sqrt(area / aspect), math.sqrt(area * aspect)), unit)


def _need_unit(model: Model, wanted: str) -> int:
    unit = size_unit(model)
    if unit is not None:
        return unit
    raise UsageError(
        f"{wanted} is not possible: model '{model.name}' draws {drawn_by(model)} alone, as it was "
        "trained; draw that, and extend it with outpaint"
    )


def _rounded(size: tuple[float, float], unit: int) -> Size:
    height, width = (max(unit, round(side / unit) * unit) for side in size)
    return height, width


def drawn_by(model: Model) -> str:
    """The sizes that a model of one size alone draws: its own, those of optional upsamplers."""
    return " or ".join(words(one.size) for one in (model, *_enlargements(model)))


def words(size: Size) -> str:
    """Width x height, as people write it."""
    return f"{size[1]}x{size[0]}"


def tiled(model: Model, axes: str) -> Model:
    """The same, whose pictures go on beyond their edges along `axes`: "x", "y" or "xy".

    Raises:
        UsageError: one of its networks is told where a pixel lies.
    """
    for name, stage in model.image_stages.items():
        if stage.config.network.knows_places:
            raise UsageError(
                f"model '{model.name}' draws no tiles: the network of its {name} is told where in "
                "the picture each pixel lies"
            )
    return replace(model, tile=axes)
