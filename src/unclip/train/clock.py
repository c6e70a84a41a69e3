"""Time, and when to stop: the one place that knows, so that one of many processes can decide."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from .world import World


@dataclass
class Clock:
    """Tells the time and when training stops; every such decision is asked of it.

    Of several processes all ask in the same order, and get the same answer: it is the time of the
    first, and a signal that any of them got. `now` alone is each one's own.

    Args:
        deadline: when to stop, in the seconds that `now` counts.
        stop: asked after each step.
        save: asked after each step: whether a state is wanted now.
        world: the processes that train together.
    """

    deadline: float = inf
    stop: Callable[[], bool] = lambda: False
    save: Callable[[], bool] = lambda: False
    world: World = field(default_factory=World)

    def now(self) -> float:
        """Seconds from any moment on."""
        return time.monotonic()

    def has_passed(self, seconds: float, since: float) -> bool:
        """Whether more than `seconds` have gone by."""
        return self.world.decided(self.now() - since > seconds)

    def is_over(self) -> bool:
        """Whether to stop before the last step."""
        late = self.world.is_first and self.now() > self.deadline
        return self.world.any(late or self.stop())

    def wants_state(self) -> bool:
        """Whether somebody asked to save now."""
        return self.world.any(self.save())

    def is_stopped(self) -> bool:
        """Whether somebody asked to stop."""
        return self.world.any(self.stop())
