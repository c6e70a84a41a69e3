"""What has happened since the server started, for /metrics."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

KEPT = 10_000
"""Most batches, waits and runs that nobody has read yet."""
REMEMBERED = 50
"""Last jobs whose time the wait of the next is guessed from."""


@dataclass
class Figures:
    """Counts since the start; whoever reads batches, waits and runs empties them.

    Args:
        pictures: finished.
        steps: of sampling, those of each picture counted.
        batches: pictures of each batch.
        waits: seconds in the queue of each job.
        runs: seconds from there to its end, of each job that was drawn.
        lately: the last of those.
        deaths: of workers.
    """

    pictures: int = 0
    steps: int = 0
    batches: deque[int] = field(default_factory=lambda: deque(maxlen=KEPT))
    waits: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    runs: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    lately: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    deaths: int = 0

    def drew(self, pictures: int, seconds: float) -> None:
        """A job was drawn."""
        self.pictures += pictures
        self.runs.append(max(0.0, seconds))
        self.lately.append(max(0.0, seconds))

    def job_seconds(self) -> float:
        """How long a job took lately; 1 where none was drawn."""
        return sum(self.lately) / len(self.lately) if self.lately else 1.0
