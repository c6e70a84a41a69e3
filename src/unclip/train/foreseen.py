"""A cache before it is filled: steps take as long with it, and no network has to say anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..data import Sample, Source
from ..data.buckets import Bucketed
from .caching import Cached, encoders, needs_pixels, picture_key, row_shapes, stored_source
from .cost import task_on_meta
from .recipe import Recipe
from .task import Task


class Foreseen(Cached):
    """The samples of another source as a cache will give them, of which only shapes are known."""

    def __init__(self, source: Source, recipe: Recipe, task: Task) -> None:
        """`task` trains a stage of the recipe. Raises UsageError as `cached` does."""
        inner, known = stored_source(source, task.name), encoders(task)
        made = {name for one in known for name in one.fields}
        super().__init__(inner, known, needs_pixels(task, made))
        bare = task_on_meta(recipe, task.name, torch.float32)
        self.rows = {
            size: row_shapes(recipe, bare, size)
            for size in (inner.buckets if isinstance(inner, Bucketed) else [inner.size])
        }

    def sample(self, position: int) -> Sample:
        """See `IndexedSource`: ones where the cache will have numbers."""
        item, frame = self.stored(position), self.frame(position)
        made: Any = {"caption": item.captions[0]}
        for kind, fields in self.rows[frame.size].items():
            if kind != "texts":
                picture_key(item, frame)  # which reads the file, as it will
            made |= {name: np.ones(shape, np.float32) for name, shape in fields.items()}
        if self.pixels:
            made |= frame.see(item)
        return made  # type: ignore[no-any-return]


def foreseen(source: Source, recipe: Recipe, task: Task) -> Source:
    """A source as `cached` gives it, to measure steps with: nothing is encoded or written."""
    return Foreseen(source, recipe, task) if encoders(task) else source
