"""What a training does by the clock: sample grids, and as many steps as fit into a budget."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..stages import Stage
from .budget import Pacer
from .clock import Clock
from .config import TrainConfig
from .following import Means, Watcher
from .optim import Learner
from .validation import Validation
from .world import World


class Paced(ABC):
    """The part of a trainer that looks at the time."""

    config: TrainConfig
    clock: Clock
    world: World
    step: int
    seconds: float
    learners: dict[str, Learner]
    pacer: Pacer | None = None  # of a stage with a budget
    _previewed: float
    _preview_seconds = 0.0
    validation: Validation | None
    _validation_seconds = 0.0  # that the last took, with its state

    @abstractmethod
    def averaged(self) -> Stage:
        """The stage with the averaged weights, in evaluation mode."""

    @abstractmethod
    def _validate(self, watcher: Watcher, means: Means) -> bool:
        """Measure where it is time; whether it was."""

    def _preview_is_due(self) -> bool:
        config = self.config
        by_steps = config.preview_every and self.step % config.preview_every == 0
        late = self.clock.has_passed(60 * config.preview_minutes, since=self._previewed)
        return bool(by_steps) or late or self.step == config.steps

    def _first_preview(self, watcher: Watcher) -> float:
        """At the very beginning. Returns the time after it."""
        if self.step == 0:
            self._preview(watcher)
        return self.clock.now()

    def _preview(self, watcher: Watcher) -> None:
        started = self.clock.now()
        watcher.preview(self.step, self.averaged())
        self._previewed = self._resumed()
        self._preview_seconds = self._previewed - started

    def _validated(self, watcher: Watcher, means: Means) -> float | None:
        """Measure where it is time; the time after that, at which no state is due."""
        started = self.clock.now()
        if not self._validate(watcher, means):
            return None
        ended = self.clock.now()
        self._validation_seconds = ended - started
        if self.pacer:
            self.pacer.skip(ended - started)
        return ended

    def _resumed(self) -> float:
        """The time now; what was done since the last step says nothing of the pace."""
        if self.pacer:
            self.pacer.restart()
        return self.clock.now()

    def _follow(self) -> TrainConfig:
        """Take as many steps as still fit into the stage's time. Returns the configuration."""
        pacer, now = self.pacer, self.seconds
        if pacer is None:
            return self.config
        previews = 1 + int(max(0.0, pacer.seconds - now) / (60 * self.config.preview_minutes))
        aside = previews * self._preview_seconds + self._validation_seconds  # at the last step too
        every = self.validation.config.every if self.validation else 1
        each = self._validation_seconds / every
        steps = self.world.first(lambda: pacer.steps(self.config, self.step, now, aside, each))
        if steps != self.config.steps:
            self.config = pacer.tell(steps)
            for learner in self.learners.values():
                learner.config = learner.config.model_copy(update={"steps": steps})
        return self.config
