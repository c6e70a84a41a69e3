"""What has happened since the server started, for /metrics."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Figures:
    """Counts since the start; the lists are emptied by whoever reads them.

    Args:
        pictures: finished.
        steps: reported of jobs.
        batches: pictures of each batch.
        waits: seconds in the queue of each job.
        deaths: of workers.
    """

    pictures: int = 0
    steps: int = 0
    batches: list[int] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    deaths: int = 0
