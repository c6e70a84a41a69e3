"""Time, and when to stop: the one place that knows, so that one of many processes can decide."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf


@dataclass
class Clock:
    """Tells the time and when training stops; every such decision is asked of it.

    Args:
        deadline: when to stop, in the seconds that `now` counts.
        stop: asked after each step.
        save: asked after each step: whether a state is wanted now.
    """

    deadline: float = inf
    stop: Callable[[], bool] = lambda: False
    save: Callable[[], bool] = lambda: False

    def now(self) -> float:
        """Seconds from any moment on."""
        return time.monotonic()

    def has_passed(self, seconds: float, since: float) -> bool:
        """Whether more than `seconds` have gone by."""
        return self.now() - since > seconds

    def is_over(self) -> bool:
        """Whether to stop before the last step."""
        return self.now() > self.deadline or self.stop()
