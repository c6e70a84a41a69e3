"""Sources that render a part of a picture alone: which stage may learn from that."""

from __future__ import annotations

from ..errors import UsageError
from ..stages import on_meta
from .recipe import Recipe
from .task import Task

SEEN = frozenset({"image_embed", "image_patches"})
"""What CLIP says of a picture."""


def check_crops(recipe: Recipe, name: str, task: Task) -> None:
    """Raise UsageError where `data.crop_size` cuts the pictures of a stage that needs all of them.

    It is of one stage: that which trains on crops of its own, and asks no CLIP about the picture.
    """
    side: int | None = getattr(recipe.data, "crop_size", None)
    if side is None or side >= min(task.source_size):
        return
    own: int | None = getattr(task.stage.config, "crop", None)
    redraws = task.redrawer.decoder.consumes if task.redrawer else frozenset()
    if own is None or (task.stage.trains_on | redraws) & SEEN:
        raise UsageError(
            f"setting 'data.crop_size' is {side}, and the stage '{name}' needs whole pictures: "
            "leave it out, or train here one stage alone whose `crop` is set and which reads no "
            "embedding of pictures"
        )
    if own > side:
        raise UsageError(
            f"setting 'data.crop_size' must be at least stages.{name}.crop, {own}, got {side}"
        )
    sizes = {other: on_meta(recipe.stages[other].config).image_size for other in recipe.trained}
    cut = [other for other, size in sizes.items() if size and side < min(size)]
    if len(cut) > 1:
        raise UsageError(
            f"setting 'data.crop_size' is of one stage, and would cut the pictures of "
            f"{', '.join(cut)}: train them in recipes of their own"
        )
