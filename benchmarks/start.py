"""Time to the first picture, alone and next to a busy process, as ratios.

    .venv/bin/python benchmarks/start.py [--repeat 5] [--threads N] [--dtype float32]

There are three limits. The command `unclip generate "a red car"` takes at most 1.6 times as long as
importing PyTorch and one picture of a loaded model together. `unclip.load` takes at most .4 s after
the package is imported. Next to another busy process the command takes at most twice as long.

Runs alternate, so that all meet the same conditions. Figures are medians, with minimum and maximum.
The machine must be idle. The first ratio is also given in CPU time.

It also prints the time of a warm picture, alone and next to a busy process, with OpenMP threads
that sleep soon (as in the command), at once, or spin (the default of OpenMP).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from _machine import add_options, quiet, spread

from unclip.cli._process import SOON, WAITING

PYTHON = """
import json, sys, time
begun, worked = time.perf_counter(), time.process_time()
import torch
imported = time.perf_counter()
worked = time.process_time() - worked
import unclip.loading
ready = time.perf_counter()
pipe = unclip.load(dtype=json.loads(sys.argv[1]))
loaded = time.perf_counter()
pipe.generate("a red car", seed=7)
drawn, before = time.perf_counter(), time.process_time()
warm = []
for _ in range(3):
    start = time.perf_counter()
    pipe.generate("a red car", seed=7)
    warm.append(time.perf_counter() - start)
worked += (time.process_time() - before) / 3
spent = [imported - begun, ready - imported, loaded - ready, drawn - loaded, sorted(warm)[1]]
print(json.dumps([*spent, worked]))
"""
PARTS = ("import torch", "import unclip", "load", "first picture", "warm picture")
WARM = PARTS.index("warm picture")
COMMAND = ["-m", "unclip.cli", "generate", "a red car", "--seed", "7"]


def parts(environment: dict[str, str], dtype: str | None) -> list[float]:
    """Seconds of `PARTS` in a new process; then the CPU time of the first and last part."""
    line = [sys.executable, "-c", PYTHON, json.dumps(dtype)]
    done = subprocess.run(line, env=environment, stdout=subprocess.PIPE, check=True)
    said: list[float] = json.loads(done.stdout)
    return said


def command(environment: dict[str, str], dtype: str | None, folder: Path) -> tuple[float, float]:
    """Wall time and CPU time of the whole command."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    line = [sys.executable, *COMMAND, "-o", str(folder / "car.png")]
    line += ["--dtype", dtype] if dtype else []
    subprocess.run(line, env=environment, stdout=subprocess.DEVNULL, check=True)
    took, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, worked


@contextmanager
def busy() -> Iterator[None]:
    """Run one busy process in the background."""
    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        spinning.kill()
        spinning.wait()


def bar(what: str, ratio: float, most: float, unit: str = "times") -> str:
    """One line for a limit."""
    verdict = "kept" if ratio <= most else "NOT KEPT"
    return f"{what}: {ratio:.2f} {unit}, at most {most:g}: {verdict}"


WAYS = {
    "soon asleep": SOON,
    "at once asleep": {"OMP_WAIT_POLICY": "passive"},
    "spinning": {},
}
"""How threads wait -> the environment variables for it. The command uses the first."""


@dataclass
class Times:
    """Measurements, one entry per round."""

    python: list[list[float]] = field(default_factory=list)
    whole: list[tuple[float, float]] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    warm: dict[tuple[str, bool], list[float]] = field(default_factory=dict)  # (way, busy?)


def measure(environment: dict[str, str], dtype: str | None, repeat: int) -> Times:
    """Measure all ways alternately, `repeat` times."""
    free = {name: value for name, value in environment.items() if name not in WAITING}
    times = Times()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command(environment, dtype, folder)  # warm the file cache
        for _ in range(repeat):
            times.whole.append(command(environment, dtype, folder))
            for way, more in WAYS.items():
                alone = parts({**free, **more}, dtype)
                times.warm.setdefault((way, False), []).append(alone[WARM])
                if way == next(iter(WAYS)):
                    times.python.append(alone)
            with busy():
                times.beside.append(command(environment, dtype, folder)[0])
                for way, more in WAYS.items():
                    beside = parts({**free, **more}, dtype)
                    times.warm.setdefault((way, True), []).append(beside[WARM])
    return times


def report(times: Times) -> None:
    """Print all times and limits."""
    median = statistics.median
    columns = dict(zip(PARTS, zip(*times.python, strict=True), strict=False))
    for label, values in columns.items():
        print(f"  {label:<14} {spread(values)} s")
    seconds, worked = zip(*times.whole, strict=True)
    print(f"  the command    {spread(seconds)} s")
    print(f"  next to a busy process {spread(times.beside)} s")
    least = median(one[0] + one[WARM] for one in times.python)
    share = median(worked) / median(one[-1] for one in times.python)
    print(bar("command / (`import torch` + warm picture)", median(seconds) / least, 1.6))
    print(bar("  the same in CPU time", share, 1.6))
    print(bar("load", median(columns["load"]), 0.4, "s"))
    print(bar("next to a busy process / alone", median(times.beside) / median(seconds), 2.0))
    for (way, neighbour), values in times.warm.items():
        print(f"  warm, threads {way}, {'busy' if neighbour else 'idle'}: {spread(values)} s")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, help="OMP_NUM_THREADS (default: number of cores)")
    parser.add_argument("--dtype", help="number format (default: the fast one of this machine)")
    add_options(parser)
    given = parser.parse_args(arguments)
    environment = dict(os.environ)
    if given.threads:
        environment["OMP_NUM_THREADS"] = str(given.threads)
    with quiet(given.threads or os.cpu_count() or 1, given.busy):
        report(measure(environment, given.dtype, given.repeat))


if __name__ == "__main__":
    main()
