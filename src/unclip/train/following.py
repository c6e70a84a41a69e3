"""Who follows a training, and the means that they are told."""

from __future__ import annotations

from math import nan
from typing import Protocol

from torch import Tensor

from ..stages import Stage
from .world import World


class Watcher(Protocol):
    """Who follows a training: the terminal, TensorBoard, a test."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Means since the last call."""

    def validated(self, step: int, values: dict[str, float]) -> None:
        """Losses of what is held out, by their names."""

    def saving(self, step: int) -> None:
        """A state is about to be written: what it must not be ahead of is written now."""

    def note(self, line: str) -> None:
        """Something that a person may want to know, and that training goes on after."""

    def preview(self, step: int, stage: Stage) -> None:
        """Time to draw sample pictures with `stage`, which holds the averaged weights."""


class Means:
    """Means of what the steps since the last log gave, not yet read off the device."""

    def __init__(self, now: float, world: World) -> None:
        self.since, self.steps, self.world = now, 0, world
        self._sums: dict[str, Tensor] = {}
        self._skipped: Tensor | int = 0

    def add(self, metrics: dict[str, Tensor], skipped: Tensor) -> None:
        """A step, which does not count where it was skipped."""
        self.steps += 1
        self._skipped = self._skipped + skipped.long()
        for key, value in metrics.items():
            self._sums[key] = self._sums.get(key, 0) + value.masked_fill(
                skipped.to(value.device), 0
            )

    def values(self) -> dict[str, float]:
        """Of all processes; not finite where every step was skipped."""
        made = self.steps - int(self._skipped)
        own = {key: float(value) / made if made else nan for key, value in self._sums.items()}
        return self.world.mean(own)
