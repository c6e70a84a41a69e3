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

    def __init__(self) -> None:
        self._cost: Cost | None = None
        self._told = False
        self._ahead = 0
        self._last = time.monotonic()
        self._seen: dict[str, tuple[float, int]] = {}  # stage -> seconds, pictures' steps

    def expect(self, cost: Cost) -> None:
        """What is going to be drawn."""
        self._cost, self._ahead = cost, cost.inverting

    def tell(self, step: Step) -> None:
        """After each step; says how long it will take in all, once."""
        now, before = time.monotonic(), self._last
        self._last = now
        if self._ahead:
            self._ahead -= 1
        elif step.index > 1:  # before the first, other things are done
            seconds, steps = self._seen.get(step.stage, (0.0, 0))
            self._seen[step.stage] = seconds + now - before, steps + len(step.x0)
            self._say()

    def seconds(self) -> float:
        """Of all steps, of the stages that have begun."""
        assert self._cost is not None
        pairs = [(self._cost.steps.get(name, 0), seen) for name, seen in self._seen.items()]
        return sum(count * seconds / steps for count, (seconds, steps) in pairs)

    def _say(self) -> None:
        if self._told or self._cost is None or quiet.get():
            return
        measured = sum(seconds for seconds, _ in self._seen.values())
        if measured >= ENOUGH and (total := self.seconds()) > LONG:
            complain(f"{self._cost}: {duration(total)} or more, Ctrl-C ends it", "")
            self._told = True
