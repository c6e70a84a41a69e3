"""What it takes to train CLIP with a large batch in pieces (GradCache), and what memory it spares.

    python benchmarks/gradcache.py
    python benchmarks/gradcache.py --batch 512 --micro-batch 32 --repeat 5

A step of the recipe's CLIP: forward, backward, clipping, optimizer, average. Whole and in pieces
run in turn, each in a process of its own. Needs an idle machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch
from _machine import add_options, quiet, spread
from peers import Side, in_turn


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="emoji-cpu")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--micro-batch", type=int, default=32)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeat", type=int, default=3)
    add_options(parser)
    given = parser.parse_args(arguments)
    options = {"recipe": given.recipe, "batch": given.batch, "dtype": given.dtype}
    with quiet(given.threads, given.busy):
        sides = [
            Side(sys.executable, "train_clip_ours", given.threads, micro_batch=size, **options)
            for size in (None, given.micro_batch)
        ]
        whole, pieces = in_turn(sides, given.repeat)
        for side in sides:
            side.close()
        print(f"\na step of {given.recipe}'s CLIP, batch {given.batch}, {given.dtype}")
        print(f"  whole          {spread(whole.seconds)} s; {whole.last_peak / 2**30:.2f} GiB")
        slower = [a / b for a, b in zip(pieces.seconds, whole.seconds, strict=True)]
        print(
            f"  in pieces of {given.micro_batch:<3}{spread(pieces.seconds)} s; "
            f"{pieces.last_peak / 2**30:.2f} GiB: {spread(slower)} of the time, "
            f"{pieces.last_peak / whole.last_peak:.2f} of the memory"
        )


if __name__ == "__main__":
    main()
