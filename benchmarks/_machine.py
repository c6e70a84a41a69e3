"""Is this machine idle enough to measure on? A figure taken beside other work is worth nothing."""

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
"""Share of the processors' time that others may take before a measurement is refused."""


def busy_share(seconds: float = 1.0) -> float | None:
    """Share of all processors' time that is used while this process sleeps, 0 to 1.

    None where the system does not say (no /proc/stat).
    """
    before = _ticks()
    time.sleep(seconds)
    after = _ticks()
    if before is None or after is None:
        return None
    busy, total = (late - early for early, late in zip(before, after, strict=True))
    return busy / max(total, 1)


def _ticks() -> tuple[int, int] | None:
    """(busy, all) clock ticks of all processors since the machine started."""
    try:
        with open("/proc/stat") as file:
            fields = [int(one) for one in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    idle = fields[3] + fields[4]  # idle, waiting for a disk
    return sum(fields) - idle, sum(fields)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The option that `quiet` reads."""
    parser.add_argument(
        "--busy", action="store_true", help="measure on a busy machine too; the output says so"
    )


@contextmanager
def quiet(threads: int, allow_busy: bool = False) -> Iterator[None]:
    """Print what is measured on, before and after; refuse a busy machine.

    Raises:
        SystemExit: others use more than a tenth of the processors, and `allow_busy` is off.
    """
    before = busy_share()
    print(f"{threads} threads of {os.cpu_count()}, torch {torch.__version__}, {_words(before)}")
    if before is not None and before > BUSY and not allow_busy:
        raise SystemExit("the machine is busy: end what else runs, or pass --busy")
    yield
    after = busy_share()
    print(f"\nafterwards {_words(after)}")
    if max(before or 0.0, after or 0.0) > BUSY:
        print("THE MACHINE WAS BUSY: do not quote these figures")


def alone(main: Callable[[], None]) -> None:
    """Run a benchmark on a quiet machine; `--busy` on its command line allows a busy one."""
    busy = "--busy" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--busy"]
    with quiet(torch.get_num_threads(), busy):
        main()


def _words(share: float | None) -> str:
    load = os.getloadavg()[0]
    busy = "busy share unknown" if share is None else f"{share:.0%} busy with other work"
    return f"{busy}, load {load:.1f}"


def spread(values: Sequence[float]) -> str:
    """'1.23 (1.20 to 1.31)': the median, the least and the most."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
