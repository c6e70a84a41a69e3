"""What has happened since the server started, for /metrics."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

KEPT = 10_000
"""Most batches and waits that nobody has read yet."""


@dataclass
class Figures:
    """Counts since the start; whoever reads batches and waits empties them.

    Args:
        pictures: finished.
        steps: reported of jobs.
        batches: pictures of each batch.
        waits: seconds in the queue of each job.
        deaths: of workers.
    """

    pictures: int = 0
    steps: int = 0
    batches: deque[int] = field(default_factory=lambda: deque(maxlen=KEPT))
    waits: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    deaths: int = 0
