"""How long work takes, said once it is known and where it is long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ._progress import quiet
from ._terminal import complain, duration

if TYPE_CHECKING:
    from ..cost import Cost
    from ..types import Step

LONG = 60.0
"""Seconds from which on work is long."""

ENOUGH = 0.5
"""Seconds of steps that an estimate is made from, at least."""


class Estimate:
    """From what the first steps of each stage took.

    The steps of an inversion are left out: each takes several calls of the network.
    """

    def __init__(self, cost: Cost | None = None) -> None:
        self._cost = cost
        self._ahead = cost.inverting if cost else 0
        self._said = False
        self._last = time.monotonic()
        self._begun: set[str] = set()
        self._seen: dict[str, tuple[float, int]] = {}  # stage -> seconds, pictures' steps

    def update(self, step: Step) -> None:
        """After each step; says how long it will take in all, once."""
        now, before = time.monotonic(), self._last
        self._last = now
        if self._ahead:
            self._ahead -= 1
        elif step.index > 1 or (step.total == 1 and step.stage in self._begun):
            # before a stage's first, other things are done
            seconds, steps = self._seen.get(step.stage, (0.0, 0))
            self._seen[step.stage] = seconds + now - before, steps + len(step.x0)
            self._say()
        self._begun.add(step.stage)

    def seconds(self) -> float:
        """Of all steps, of the stages that have begun."""
        counts = self._cost.steps if self._cost else {}
        pairs = ((counts.get(name, 0), seen) for name, seen in self._seen.items())
        return sum(count * seconds / steps for count, (seconds, steps) in pairs)

    def _say(self) -> None:
        if self._said or quiet.get():
            return
        measured = sum(seconds for seconds, _ in self._seen.values())
        if measured >= ENOUGH and (total := self.seconds()) > LONG:
            complain(f"{self._cost}: {duration(total)} or more, Ctrl-C ends it", "")
            self._said = True
