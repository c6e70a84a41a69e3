"""What a training does by the clock: sample grids, and as many steps as fit into a budget."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .budget import Pacer
from .clock import Clock
from .config import TrainConfig


class Pacing:
    """Knows when a sample grid is due, what was done beside steps, and what time that leaves."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.pacer: Pacer | None = None  # of a stage with a budget
        self._previewed = clock.now()
        self._preview_seconds = self._validation_seconds = 0.0  # that the last one took

    def preview_is_due(self, config: TrainConfig, step: int) -> bool:
        """Whether to draw a sample grid after so many steps."""
        by_steps = config.preview_every and step % config.preview_every == 0
        late = self.clock.has_passed(60 * config.preview_minutes, since=self._previewed)
        return bool(by_steps) or late or step == config.steps

    @contextmanager
    def previewing(self) -> Iterator[None]:
        """Within, a sample grid is drawn."""
        started = self.clock.now()
        yield
        self._previewed = self.resumed()
        self._preview_seconds = self._previewed - started

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Within, the validation loss is measured, and a state saved if it is the best."""
        started = self.clock.now()
        yield
        self._validation_seconds = self.clock.now() - started
        if self.pacer:
            self.pacer.skip(self._validation_seconds)

    def resumed(self) -> float:
        """The time now; what was done since the last step says nothing of the pace."""
        if self.pacer:
            self.pacer.restart()
        return self.clock.now()

    def follow(
        self, config: TrainConfig, step: int, seconds: float, validates: int = 1
    ) -> TrainConfig:
        """The configuration, with as many steps as still fit into the stage's time.

        Args:
            config: how the stage is trained now.
            step: how many steps are done.
            seconds: that the stage has taken.
            validates: steps from one validation to the next.
        """
        pacer = self.pacer
        if pacer is None:
            return config
        previews = 1 + int(max(0.0, pacer.seconds - seconds) / (60 * config.preview_minutes))
        aside = previews * self._preview_seconds + self._validation_seconds  # at the last step too
        each = self._validation_seconds / validates
        steps = self.clock.world.first(lambda: pacer.steps(config, step, seconds, aside, each))
        return config if steps == config.steps else pacer.tell(steps)
