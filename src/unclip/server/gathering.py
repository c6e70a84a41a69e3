"""When a batch that is not full yet begins: soon, but not just before those who are about to come.

Clients that ask again as soon as they have their answer come back some milliseconds after a batch.
If the next one began at once, it would hold those alone who came meanwhile, and the clients would
draw by turns, in two halves, from then on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

QUIET = 0.03
"""Seconds without an answer or a request after which nobody is expected any more."""

SHARE = 0.05
"""Most of the time of a batch, as the last one took it, that is spent on waiting for the next."""


class Gathering:
    """Knows who is likely to come, and how long to wait for them.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._coming, self._expected = 0, 0
        self._heard = self._took = 0.0
        self._changed = asyncio.Event()

    def answered(self) -> None:
        """A client that waited has its pictures: it may ask for more."""
        self._expected += 1
        self._hear()

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Within, a request is read and checked; then it waits in the queue."""
        self._expected = max(0, self._expected - 1)
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1
            self._hear()

    def took(self, seconds: float) -> None:
        """So long did a batch take."""
        self._took = seconds

    def _hear(self) -> None:
        self._heard = self._clock()
        self._changed.set()

    def left(self, began: float) -> float:
        """Seconds that a batch which could begin since `began` still waits; 0 or less: none."""
        now = self._clock()
        if self._expected and now - self._heard >= QUIET:
            self._expected = 0  # they stay away
        if not (self._coming or self._expected):
            return 0.0
        most = began + SHARE * self._took - now
        return most if self._coming else min(most, self._heard + QUIET - now)

    async def wait(self, waiting: Callable[[], Awaitable[int]], most: int) -> bool:
        """Return when the next batch should begin; False where none can, as nobody waits.

        Args:
            waiting: how many pictures wait.
            most: those of a batch.
        """
        began = self._clock()
        while (left := self.left(began)) > 0:
            self._changed.clear()
            count = await waiting()
            if not 0 < count < most:
                return count > 0
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)
        return True
