"""Compare with other implementations: same weights, steps, threads and number format.

    make peers
    python benchmarks/peers.py --peers .venv-peers/bin/python
    python benchmarks/peers.py --peers .venv-peers/bin/python --only karlo --repeat 5

`--peers` is the Python of an environment with the packages of tests/parity/peers/requirements.txt.
float32 is compared with float32, and bfloat16 with bfloat16 if the hardware is fast in it and the
peer supports it. Runs alternate. It prints medians with minimum and maximum, the ratio of each pair
of runs, and the peak memory of each process after its first and last run. Needs an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _karlo
import numpy as np
import torch
from _machine import add_options, quiet, spread
from PIL import Image

from unclip.device import fast_dtype

HERE = Path(__file__).parent
DIFFUSERS = "diffusers 0.33.1"
DALLE2_PYTORCH = "DALLE2-pytorch 1.15.6"


@dataclass(frozen=True)
class Given:
    """Command-line options."""

    peers: str
    threads: int
    repeat: int


Measure = Callable[[Given], None]


class Side:
    """A process that runs one implementation on request."""

    def __init__(self, python: str, what: str, threads: int, **options: Any) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            [python, str(HERE / "_peer.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._ask({"what": what, "threads": threads, "with": options})

    def run(self, seed: int, save: Path | None = None) -> dict[str, float]:
        """Seconds of one run, and the peak memory of the process in bytes."""
        return self._ask({"seed": seed, "save": str(save) if save else None})

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, what: dict[str, Any]) -> dict[str, float]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a process ended; see its output above")
        answer: dict[str, float] = json.loads(line)
        return answer


@dataclass
class Result:
    """Measurements of one side: seconds of each run, and peaks in bytes."""

    seconds: list[float] = field(default_factory=list)
    first_peak: float = 0.0
    last_peak: float = 0.0


def in_turn(sides: Sequence[Side], repeat: int) -> list[Result]:
    """Run the sides alternately, `repeat` times each, after one warm-up run."""
    results = [Result(first_peak=side.run(0)["peak"]) for side in sides]
    for seed in range(repeat):
        for side, result in zip(sides, results, strict=True):
            said = side.run(seed)
            result.seconds.append(said["seconds"])
            result.last_peak = said["peak"]
    return results


def compare(
    title: str, peer: str, names: tuple[str, str], given: Given, dtype: str, **options: Any
) -> None:
    """Run a peer and ours alternately; print both and their ratios.

    Args:
        title: what is compared, with its sizes.
        peer: the other implementation.
        names: theirs and ours in `_peer.READY`; theirs starts first, and may write our weights.
        dtype: number format of both.
        options: options of both.
    """
    pythons = (given.peers, sys.executable)
    sides = [
        Side(python, name, given.threads, dtype=dtype, **options)
        for python, name in zip(pythons, names, strict=True)
    ]
    results = in_turn(sides, given.repeat)
    for side in sides:
        side.close()
    theirs, ours = results
    print(f"\n{title}; both {dtype}")
    for name, one in ((peer, theirs), ("unclip", ours)):
        peaks = f"{one.first_peak / 2**30:.2f} GiB after one run, {one.last_peak / 2**30:.2f} later"
        print(f"  {name:<24}{spread(one.seconds)} s; {peaks}")
    faster = [t / o for t, o in zip(theirs.seconds, ours.seconds, strict=True)]
    first, last = ours.first_peak / theirs.first_peak, ours.last_peak / theirs.last_peak
    print(f"  {spread(faster)} times as fast; {first:.2f} and {last:.2f} of the memory", flush=True)


def formats() -> list[str]:
    """The number formats in which this machine is fast."""
    half = fast_dtype(torch.device("cpu")) == torch.bfloat16
    return ["float32", "bfloat16"] if half else ["float32"]


@contextmanager
def medium_karlo() -> Iterator[tuple[Path, str]]:
    """A folder with the medium Karlo, and its size as text."""
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder) / "karlo"
        numbers = _karlo.write(where, _karlo.MEDIUM, torch.float32)
        yield where, f"{numbers / 1e6:.0f} M parameters"


KARLO_STEPS = [25, 25, 7]


def karlo(given: Given) -> None:
    """A medium Karlo-shaped pipeline, from a prompt to a 256x256 picture.

    Only in float32: diffusers' upsampler has no bfloat16 kernel on a CPU.
    """
    with medium_karlo() as (where, numbers):
        compare(
            f"Karlo, {numbers}, 25 + 25 + 7 steps",
            DIFFUSERS,
            ("karlo_diffusers", "karlo_ours"),
            given,
            "float32",
            folder=str(where),
            steps=KARLO_STEPS,
        )
        if "bfloat16" in formats():
            _difference(where, given)


def karlo_prior(given: Given) -> None:
    """Only the prior of that pipeline, with the text already encoded."""
    with medium_karlo() as (where, _):
        for dtype in formats():
            compare(
                "Karlo's prior (6 layers, 512 wide), 25 guided steps, batch 4",
                DIFFUSERS,
                ("karlo_prior_diffusers", "karlo_prior_ours"),
                given,
                dtype,
                folder=str(where),
                steps=25,
                batch=4,
            )


def karlo_command(given: Given) -> None:
    """Memory of a whole process that loads that pipeline and draws one picture."""
    with medium_karlo() as (where, numbers):
        options = {"folder": str(where), "steps": KARLO_STEPS, "dtype": "float32"}
        pairs = ((given.peers, "karlo_diffusers"), (sys.executable, "karlo_command"))
        peaks = []
        for python, name in pairs:
            side = Side(python, name, given.threads, **options)
            peaks.append(side.run(0)["peak"])
            side.close()
    theirs, ours = peaks
    print(f"\nKarlo, {numbers}: load and draw one picture; both float32")
    print(f"  {DIFFUSERS:<24}{theirs / 2**30:.2f} GiB")
    print(f"  {'unclip generate':<24}{ours / 2**30:.2f} GiB: {ours / theirs:.2f} of the memory")


def laion(kind: str, title: str, **options: Any) -> Measure:
    """DALLE2-pytorch and ours, at a shape of its README; it samples only in float32."""

    def measure(given: Given) -> None:
        with tempfile.TemporaryDirectory() as folder:
            names = (f"laion_{kind}_theirs", f"laion_{kind}_ours")
            file = str(Path(folder) / f"{kind}.pth")
            compare(title, DALLE2_PYTORCH, names, given, "float32", file=file, **options)

    return measure


def _difference(where: Path, given: Given) -> None:
    """How much bfloat16 changes a picture, compared with another seed."""
    runs = {"float32": ("whole", 1), "bfloat16": ("half", 1), "other": ("other", 2)}
    pictures = []
    for dtype, (name, seed) in runs.items():
        kind = "float32" if dtype == "other" else dtype
        side = Side(
            sys.executable,
            "karlo_ours",
            given.threads,
            folder=str(where),
            steps=KARLO_STEPS,
            dtype=kind,
        )
        file = where / f"{name}.png"
        side.run(seed, file)
        side.close()
        pictures.append(np.asarray(Image.open(file), np.float64))
    whole, half, other = pictures
    near, far = psnr(whole, half), psnr(whole, other)
    print(f"  bfloat16 against float32: {near:.1f} dB; another seed: {far:.1f} dB")


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR of 8-bit pictures in dB."""
    return float(10 * np.log10(255**2 / max(((a - b) ** 2).mean(), 1e-9)))


MEASURED: dict[str, Measure] = {
    "karlo": karlo,
    "karlo-prior": karlo_prior,
    "karlo-command": karlo_command,
    "laion-prior": laion(
        "prior",
        "LAION's prior (24.8 M), 100 steps, 256 tokens, batch 4",
        steps=100,
        batch=4,
        context=256,
        guidance=1.0,
    ),
    "laion-prior-77": laion(
        "prior",
        "the same, 77 tokens, guided",
        steps=100,
        batch=4,
        context=77,
        guidance=2.0,
    ),
    "laion-decoder": laion(
        "decoder",
        "LAION's decoder (187.5 M), 10 guided steps, 64x64, batch 4",
        steps=10,
        batch=4,
        guidance=3.0,
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", required=True, help="Python of the peers' environment")
    parser.add_argument("--only", choices=MEASURED, nargs="*", default=list(MEASURED))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeat", type=int, default=3)
    add_options(parser)
    asked = parser.parse_args(arguments)
    given = Given(asked.peers, asked.threads, asked.repeat)
    with quiet(asked.threads, asked.busy):
        for name in asked.only:
            MEASURED[name](given)


if __name__ == "__main__":
    main()
