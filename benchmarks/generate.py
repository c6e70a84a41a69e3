"""Seconds and memory for one 256x256 picture of the bundled model, by stage.

.venv/bin/python benchmarks/generate.py
"""

from __future__ import annotations

import resource
import sys
import time

import torch
from _machine import alone
from _timing import compare, seconds

import unclip
from unclip.device import describe, fast_dtype
from unclip.types import Cond


def stage_seconds(pipe: unclip.Pipeline) -> dict[str, float]:
    """Wall time of every stage that ran, including those without steps (CLIP, some priors)."""
    spent: dict[str, float] = {}
    last = time.perf_counter()

    def on_stage(name: str, cond: Cond) -> None:
        nonlocal last
        now = time.perf_counter()
        spent[name], last = now - last, now

    pipe.sample(pipe.read(["a red car"]), [7], on_stage=on_stage)
    return spent


def main() -> None:
    start = time.perf_counter()
    pipe = unclip.load()
    loaded = time.perf_counter() - start
    print(f"model {pipe.name} {pipe.hash}; {describe(pipe.device)}; {fast_dtype(pipe.device)}")
    pipe.generate("a red car", seed=7)
    print(f"load {loaded:.2f} s, load and first picture {time.perf_counter() - start:.2f} s")
    one = seconds(lambda: pipe.generate("a red car", seed=7))
    four = seconds(lambda: pipe.generate("a red car", n=4, seed=7), repeat=3) / 4
    print(f"one picture {one:.2f} s; four pictures {four:.2f} s each")
    for stage, spent in stage_seconds(pipe).items():
        print(f"  {stage} {spent:.3f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak memory {peak / (2**20 if sys.platform != 'darwin' else 2**30):.2f} GiB")
    if fast_dtype(pipe.device) == torch.bfloat16:
        exact = unclip.load(dtype=torch.float32)
        fast, slow = compare(
            lambda: pipe.generate("a red car", seed=7),
            lambda: exact.generate("a red car", seed=7),
            repeat=3,
        )
        print(f"bfloat16 {fast:.2f} s, float32 {slow:.2f} s: {slow / fast:.2f} times as fast")


if __name__ == "__main__":
    alone(main)
