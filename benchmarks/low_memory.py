"""Peak memory of a full-size Karlo folder (3.42 billion random weights), from prompt to picture.

    python benchmarks/low_memory.py                  write 6.4 GiB of weights, and remove them
    python benchmarks/low_memory.py --keep DIR       write them to DIR once, and reuse them

Each way of loading runs in a separate process, and the peak is that of the whole process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _karlo
import torch
from _machine import alone

WAYS: dict[str, dict[str, Any]] = {"whole": {}, "--low-memory": {"low_memory": True}}

CHILD = """
import json, sys, time
sys.path.insert(0, sys.argv[2])
import torch, unclip
from _peer import peak_bytes
folder, steps, more = json.loads(sys.argv[1])
begun = time.perf_counter()
pipe = unclip.load(folder, "cpu", torch.bfloat16, **more)
loaded = time.perf_counter()
pipe.generate("a photo of a red fox", **steps)
drawn = time.perf_counter()
print(json.dumps([loaded - begun, drawn - loaded, peak_bytes()]))
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="folder to write the weights to, or to reuse")
    parser.add_argument("--steps", type=int, nargs=3, default=[25, 25, 7], metavar="N")
    given = parser.parse_args(arguments)
    prior, decoder, upsampler = given.steps
    steps = {"prior_steps": prior, "steps": decoder, "upsampler_steps": upsampler}
    with tempfile.TemporaryDirectory() as folder:
        where = given.keep or Path(folder) / "karlo"
        if not where.exists():
            numbers = _karlo.write(where, _karlo.Size(), torch.bfloat16)
            print(f"{numbers:,} parameters", flush=True)
        for name, more in WAYS.items():
            loaded, drawn, peak = run([str(where), steps, more])
            print(
                f"{name:<14} loaded in {loaded:6.1f} s, {prior} + {decoder} + {upsampler} steps in "
                f"{drawn:6.1f} s, peak {peak / 1e9:.2f} GB ({os.cpu_count()} cores)",
                flush=True,
            )


def run(order: list[Any]) -> list[float]:
    """Seconds to load and to draw, and the peak in bytes, of a separate process."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(order), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise SystemExit("the run failed; see the output above")
    said: list[float] = json.loads(done.stdout)
    return said


if __name__ == "__main__":
    alone(main)
