"""Two checkouts of this package in turn: load, picture, training step and peak memory.

    git worktree add ../before <commit>
    .venv/bin/python benchmarks/checkouts.py ../before . [--repeat 5] [--dtype float32]

Each run is a new process. Prints the median of each figure for both, and the ratios run by run with
minimum and maximum. Use it before and after moving code. The machine must be idle.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from _machine import add_options, quiet, spread

CHILD = """
import json, resource, sys, tempfile, time
from pathlib import Path
import torch
import unclip, unclip.loading
dtype = json.loads(sys.argv[1])
if dtype == "float32":
    import unclip.device
    unclip.device.cpu_has_bf16 = lambda: False

def best(run, repeat):
    spent = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        spent.append(time.perf_counter() - start)
    return sorted(spent)[repeat // 2]

start = time.perf_counter()
pipe = unclip.load(dtype=dtype)
load = time.perf_counter() - start
pipe.generate("a red car", seed=7)
picture = best(lambda: pipe.generate("a red car", seed=7), 5)
four = best(lambda: pipe.generate("a red car", n=4, seed=7), 3)
drawing = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

from unclip.train.recipe import load_recipe
from unclip.train.run import Run
recipe = load_recipe("emoji-cpu", ["data={source='shapes'}"])
recipe = recipe.with_train("decoder", batch_size=32, workers=0)
with tempfile.TemporaryDirectory() as folder:
    trainer = Run(recipe, Path(folder), torch.device("cpu")).untrained("decoder")
    advance = getattr(trainer, "advance", None) or trainer._step  # of an older checkout
    advance()
    step = best(advance, 5)
training = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([load, picture, four, drawing / 1024, step, training / 1024]))
"""
FIGURES = {
    "load, s": 3,
    "one picture, s": 3,
    "four pictures, s": 3,
    "peak memory of drawing, MiB": 0,
    "training step at batch 32, s": 3,
    "peak memory with training, MiB": 0,
}
"""What the child measures, and decimals."""


def measure(checkout: Path, dtype: str | None) -> list[float]:
    """The figures of one new process."""
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve() / "src")}
    line = [sys.executable, "-c", CHILD, json.dumps(dtype)]
    done = subprocess.run(line, env=environment, stdout=subprocess.PIPE, check=True)
    figures: list[float] = json.loads(done.stdout)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path, help="a checkout")
    parser.add_argument("after", type=Path, help="another one")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="of weights and training")
    add_options(parser)
    wanted = parser.parse_args()
    with quiet(os.cpu_count() or 1, wanted.busy):
        pairs = [
            (measure(wanted.before, wanted.dtype), measure(wanted.after, wanted.dtype))
            for _ in range(wanted.repeat)
        ]
    for index, (name, digits) in enumerate(FIGURES.items()):
        before, after = ([run[side][index] for run in pairs] for side in (0, 1))
        middle = len(pairs) // 2
        ratios = [new / old for old, new in zip(before, after, strict=True)]
        print(
            f"{name:32}{sorted(before)[middle]:9.{digits}f}{sorted(after)[middle]:9.{digits}f}"
            f"   {spread(ratios)} times"
        )


if __name__ == "__main__":
    main()
