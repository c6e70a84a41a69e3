"""Ours beside others', with equal weights, steps and threads, in turn in one run.

    python benchmarks/peers.py --peers ~/peers/bin/python
    python benchmarks/peers.py --peers ~/peers/bin/python --only karlo --repeat 5

`--peers` is the Python of an environment with the packages of tests/parity/peers/requirements.txt.
Printed are medians, their ratio, and the peak memory of each process. A busy machine makes this
worthless: look at its load first.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _karlo
import numpy as np
import torch
from PIL import Image

HERE = Path(__file__).parent
Measure = Callable[[str, int, int], None]
"""(Python of the peers, threads, repetitions) -> prints what it measured."""


class Side:
    """A process that runs one implementation when it is asked to."""

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
        """Seconds of one run, and the peak of the process so far in bytes."""
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
            raise SystemExit("one side ended; its last lines say why")
        answer: dict[str, float] = json.loads(line)
        return answer


@dataclass
class Result:
    """What was measured of one side."""

    seconds: list[float] = field(default_factory=list)
    peak: float = 0.0


def in_turn(sides: dict[str, Side], repeat: int) -> dict[str, Result]:
    """Run each side `repeat` times, in turn, after one run to warm up."""
    results = {name: Result() for name in sides}
    for side in sides.values():
        side.run(0)
    for seed in range(repeat):
        for name, side in sides.items():
            said = side.run(seed)
            results[name].seconds.append(said["seconds"])
            results[name].peak = said["peak"]
    return results


def tell(title: str, results: dict[str, Result], peer: str) -> None:
    """Print medians, and each side's beside the peer's."""
    print(f"\n{title}")
    theirs = results[peer]
    for name, one in results.items():
        median = statistics.median(one.seconds)
        faster = statistics.median(theirs.seconds) / median
        print(
            f"  {name:<28}{median:9.2f} s  {one.peak / 2**30:6.2f} GiB"
            f"   {faster:6.2f} times as fast, {one.peak / theirs.peak:4.2f} of the memory"
        )


def karlo(peers: str, threads: int, repeat: int) -> None:
    """A medium Karlo-shaped pipeline, from a prompt to a 256x256 picture."""
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder) / "karlo"
        numbers = _karlo.write(where, _karlo.MEDIUM, torch.float32)
        shared = {"folder": str(where), "steps": [25, 25, 7]}
        peer = "diffusers 0.33.1, float32"
        sides = {
            peer: Side(peers, "karlo_diffusers", threads, dtype="float32", **shared),
            "unclip, bfloat16": Side(
                sys.executable, "karlo_ours", threads, dtype="bfloat16", **shared
            ),
            "unclip, float32": Side(
                sys.executable, "karlo_ours", threads, dtype="float32", **shared
            ),
        }
        tell(
            f"Karlo, {numbers / 1e6:.0f} M parameters, 25 + 25 + 7 steps",
            in_turn(sides, repeat),
            peer,
        )
        _difference(sides["unclip, float32"], sides["unclip, bfloat16"], Path(folder))
        for side in sides.values():
            side.close()


def karlo_prior(peers: str, threads: int, repeat: int) -> None:
    """The prior of that pipeline alone, its text read before."""
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder) / "karlo"
        _karlo.write(where, _karlo.MEDIUM, torch.float32)
        shared = {"folder": str(where), "steps": 25, "batch": 4}
        peer = "diffusers 0.33.1, float32"
        sides = {peer: Side(peers, "karlo_prior_diffusers", threads, dtype="float32", **shared)}
        for dtype in ("bfloat16", "float32"):
            side = Side(sys.executable, "karlo_prior_ours", threads, dtype=dtype, **shared)
            sides[f"unclip, {dtype}"] = side
        tell(
            "Karlo's prior (6 layers, 512 wide), 25 guided steps, batch 4",
            in_turn(sides, repeat),
            peer,
        )
        for side in sides.values():
            side.close()


def laion(kind: str, title: str, **shared: Any) -> Measure:
    """DALLE2-pytorch beside ours, at a shape of its README."""

    def measure(peers: str, threads: int, repeat: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            given = {"file": str(Path(folder) / f"{kind}.pth"), **shared}
            peer = "DALLE2-pytorch 1.15.6"
            sides = {peer: Side(peers, f"laion_{kind}_theirs", threads, **given)}
            for dtype in ("bfloat16", "float32"):
                side = Side(sys.executable, f"laion_{kind}_ours", threads, dtype=dtype, **given)
                sides[f"unclip, {dtype}"] = side
            tell(title, in_turn(sides, repeat), peer)
            for side in sides.values():
                side.close()

    return measure


def _difference(whole: Side, half: Side, folder: Path) -> None:
    """How far bfloat16 changes a picture, beside how far another seed does."""
    files = [folder / f"{name}.png" for name in ("whole", "half", "other")]
    whole.run(1, files[0])
    half.run(1, files[1])
    whole.run(2, files[2])
    first, same, other = (np.asarray(Image.open(file), np.float64) for file in files)
    near, far = psnr(first, same), psnr(first, other)
    print(f"  bfloat16 for float32: {near:.1f} dB; another seed: {far:.1f} dB")


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """In dB, of 8-bit pictures."""
    return float(10 * np.log10(255**2 / max(((a - b) ** 2).mean(), 1e-9)))


MEASURED: dict[str, Measure] = {
    "karlo": karlo,
    "karlo-prior": karlo_prior,
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
    given = parser.parse_args(arguments)
    print(f"{given.threads} threads, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")
    for name in given.only:
        MEASURED[name](given.peers, given.threads, given.repeat)


if __name__ == "__main__":
    main()
