"""Time one function, or two alternately, in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def seconds(run: Callable[[], object], repeat: int = 5) -> float:
    """Median wall time of `run`, after one warm-up run."""
    run()
    return statistics.median(_once(run) for _ in range(repeat))


def compare(
    ours: Callable[[], object], peer: Callable[[], object], repeat: int = 5
) -> tuple[float, float]:
    """Median wall times of both, run alternately under the same conditions."""
    ours(), peer()
    pairs = [(_once(ours), _once(peer)) for _ in range(repeat)]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


def _once(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
