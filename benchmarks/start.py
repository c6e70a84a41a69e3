"""How long the first picture takes, and what a busy neighbour costs: ratios, each in one run.

    .venv/bin/python benchmarks/start.py [--repeat 5] [--threads N]

Three bars. The whole command `unclip generate "a red car"` takes at most 1.6 times what importing
PyTorch and one picture of a loaded model take together. `unclip.load` takes at most .4 s once the
package is imported. Beside one other busy process the command takes at most twice as long.

What is compared runs in turn, so that both meet the same machine; medians, with the least and the
most. What others use of the machine is measured before and after, and a run that they disturb is
marked. The first ratio is also given in seconds of processor time, which neighbours disturb less.

On a machine of one's own it also says what a warm picture costs with threads that wait asleep, as
the command has them, to one with threads that spin, as OpenMP's do by default: close to 1.
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

from unclip.cli._process import WAITING

QUIET = 0.3
"""Share of the cores that others may be using before a run counts as disturbed."""

PYTHON = """
import json, time
begun, worked = time.perf_counter(), time.process_time()
import torch
imported = time.perf_counter()
worked = time.process_time() - worked
import unclip.loading
ready = time.perf_counter()
pipe = unclip.load()
loaded = time.perf_counter()
pipe.generate("a red car", seed=7)
drawn, before = time.perf_counter(), time.process_time()
pipe.generate("a red car", seed=7)
again, worked = time.perf_counter(), worked + time.process_time() - before
spent = [imported - begun, ready - imported, loaded - ready, drawn - loaded, again - drawn]
print(json.dumps([*spent, worked]))
"""
PARTS = ("import torch", "import unclip", "load", "first picture", "warm picture")
WARM = PARTS.index("warm picture")
COMMAND = ["-m", "unclip.cli", "generate", "a red car", "--seed", "7"]


def parts(environment: dict[str, str]) -> list[float]:
    """Seconds of `PARTS`, in a process of its own; last, processor time of first and last part."""
    done = subprocess.run(
        [sys.executable, "-c", PYTHON], env=environment, stdout=subprocess.PIPE, check=True
    )
    said: list[float] = json.loads(done.stdout)
    return said


def command(environment: dict[str, str], folder: Path) -> tuple[float, float]:
    """Seconds of the whole command from its start to its end, and its processor time."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    line = [sys.executable, *COMMAND, "-o", str(folder / "car.png")]
    subprocess.run(line, env=environment, stdout=subprocess.DEVNULL, check=True)
    took, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, worked


@contextmanager
def busy() -> Iterator[None]:
    """Beside one process that does nothing but compute."""
    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        spinning.kill()
        spinning.wait()


def others() -> float:
    """Cores that other processes use, over a second in which this one sleeps."""

    def used() -> float:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
        numbers = [float(one) for one in fields]
        return sum(numbers) - numbers[3] - numbers[4]  # all but idle and waiting for disks

    before = used()
    time.sleep(1)
    return (used() - before) / os.sysconf("SC_CLK_TCK")


def spread(values: Sequence[float]) -> str:
    """Median, and the least and the most."""
    return f"{statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})"


def bar(what: str, ratio: float, most: float, unit: str = "times") -> str:
    """One line for a bar."""
    verdict = "kept" if ratio <= most else "NOT KEPT"
    return f"{what}: {ratio:.2f} {unit}, at most {most:g}: {verdict}"


@dataclass
class Times:
    """What was measured, one entry a round."""

    python: list[list[float]] = field(default_factory=list)
    spinning: list[list[float]] = field(default_factory=list)
    whole: list[tuple[float, float]] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)


def measure(environment: dict[str, str], repeat: int, calm: bool) -> Times:
    """All ways in turn, `repeat` times."""
    asleep = {**environment, "OMP_WAIT_POLICY": "passive"}  # as the command does for itself
    spinning = {name: value for name, value in environment.items() if name not in WAITING}
    times = Times()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command(environment, folder)  # files come into memory
        for _ in range(repeat):
            times.python.append(parts(asleep))
            times.whole.append(command(environment, folder))
            if calm:  # else it may take minutes
                times.spinning.append(parts(spinning))
            with busy():
                times.beside.append(command(environment, folder)[0])
    return times


def report(times: Times) -> None:
    """Print every time and every bar."""
    median = statistics.median
    columns = dict(zip(PARTS, zip(*times.python, strict=True), strict=False))
    for label, values in columns.items():
        print(f"  {label:<14} {spread(values)}")
    seconds, worked = zip(*times.whole, strict=True)
    print(f"  the command    {spread(seconds)}")
    print(f"  beside a busy process {spread(times.beside)}")
    least = median(one[0] + one[WARM] for one in times.python)
    share = median(worked) / median(one[-1] for one in times.python)
    print(bar("the command to `import torch` and a warm picture", median(seconds) / least, 1.6))
    print(bar("  the same in processor time", share, 1.6))
    print(bar("load", median(columns["load"]), 0.4, "s"))
    print(bar("beside a busy process to alone", median(times.beside) / median(seconds), 2.0))
    if times.spinning:
        ratio = median(columns[PARTS[WARM]]) / median(one[WARM] for one in times.spinning)
        print(f"a warm picture, threads asleep to threads that spin: {ratio:.2f} times")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, help="OMP_NUM_THREADS; as many as cores if left out")
    given = parser.parse_args(arguments)
    environment = dict(os.environ)
    if given.threads:
        environment["OMP_NUM_THREADS"] = str(given.threads)
    before, most = others(), QUIET * (os.cpu_count() or 1)
    print(f"{os.cpu_count()} cores, others use {before:.2f} of them")
    report(measure(environment, given.repeat, before <= most))
    after = others()
    if max(before, after) > most:
        print(f"DISTURBED: others used {before:.2f} cores before, {after:.2f} after: no proof")


if __name__ == "__main__":
    main()
