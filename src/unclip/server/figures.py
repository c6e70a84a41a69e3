"""What has happened since the server started, for /metrics."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

KEPT = 10_000
"""Most batches and waits that nobody has read yet."""
REMEMBERED = 50
"""Last jobs whose time the wait of the next is guessed from."""


@dataclass
class Figures:
    """Counts since the start; whoever reads batches, waits and runs empties them.

    Args:
        pictures: finished.
        steps: reported of jobs.
        batches: pictures of each batch.
        waits: seconds in the queue of each job.
        runs: seconds from there of each job that is done.
        last: those of the last few.
        deaths: of workers.
    """

    pictures: int = 0
    steps: int = 0
    batches: deque[int] = field(default_factory=lambda: deque(maxlen=KEPT))
    waits: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    runs: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    last: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    deaths: int = 0

    def ran(self, seconds: float) -> None:
        """A job is done, after so long."""
        self.runs.append(max(0.0, seconds))
        self.last.append(max(0.0, seconds))
