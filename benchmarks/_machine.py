"""Check that the machine is idle: measurements on a busy machine are useless."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

BUSY = 0.1
"""Largest CPU share of other processes with which a measurement may start."""


def busy_share(seconds: float = 1.0) -> float | None:
    """CPU share of other processes, 0 to 1, measured while this process sleeps.

    None if the system does not report it (no /proc/stat).
    """
    before = _ticks()
    time.sleep(seconds)
    after = _ticks()
    if before is None or after is None:
        return None
    busy, total = (late - early for early, late in zip(before, after, strict=True))
    return busy / max(total, 1)


def _ticks() -> tuple[int, int] | None:
    """(busy, total) clock ticks of all processors since boot."""
    try:
        with open("/proc/stat") as file:
            fields = [int(one) for one in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    idle = fields[3] + fields[4]  # idle, waiting for a disk
    return sum(fields) - idle, sum(fields)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the option that `quiet` takes."""
    parser.add_argument(
        "--busy", action="store_true", help="also measure on a busy machine; the output says so"
    )


@contextmanager
def quiet(threads: int, allow_busy: bool = False) -> Iterator[None]:
    """Print the load of the machine before and after; refuse a busy machine.

    Raises:
        SystemExit: other processes use more than a tenth of the CPUs and `allow_busy` is off.
    """
    before = busy_share()
    print(f"{threads} threads of {os.cpu_count()}, torch {torch.__version__}, {_words(before)}")
    if before is not None and before > BUSY and not allow_busy:
        raise SystemExit("the machine is busy: stop other processes, or pass --busy")
    yield
    after = busy_share()
    print(f"\nafterwards {_words(after)}")
    if max(before or 0.0, after or 0.0) > BUSY:
        print("THE MACHINE WAS BUSY: do not quote these figures")


def alone(main: Callable[[], None]) -> None:
    """Run a benchmark on an idle machine; `--busy` on its command line allows a busy one."""
    busy = "--busy" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--busy"]
    with quiet(torch.get_num_threads(), busy):
        main()


def _words(share: float | None) -> str:
    load = os.getloadavg()[0]
    busy = "busy share unknown" if share is None else f"{share:.0%} busy with other work"
    return f"{busy}, load {load:.1f}"


def spread(values: Sequence[float]) -> str:
    """'1.23 (1.20 to 1.31)': median, minimum and maximum."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
