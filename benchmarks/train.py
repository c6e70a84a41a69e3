"""A training step of the prior and of the decoder, side by side with DALLE2-pytorch 1.15.6.

    make peers
    python benchmarks/train.py --peers .venv-peers/bin/python
    python benchmarks/train.py --peers .venv-peers/bin/python --only decoder --repeat 5

Both sides train the same network from the same weights, with equal batches, threads, number format
and shares of hidden conditions: forward, backward, gradient clipping, AdamW and the average of the
weights, by each one's own trainer. Steps alternate. It prints medians with minimum and maximum, the
ratio of each pair of steps, the peak memory of each process, and the share that each side reaches
of two measured peaks: a large matrix product, and this network's own convolutions, each run alone.
bfloat16 is measured where the hardware is fast in it. Needs an idle machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import _peer
import torch
from _machine import add_options, quiet, spread
from peers import DALLE2_PYTORCH, Given, Result, Side, formats, in_turn
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from unclip.rng import Rng
from unclip.types import Cond

BATCH = {"prior": 64, "decoder": 16}
TITLES = {"prior": "the prior (24.8 M), 77 tokens", "decoder": "the decoder (187.5 M), 64x64"}
CONFIGS = {
    "prior": lambda: _peer._laion_prior(1000, 77),
    "decoder": lambda: _peer._laion_decoder(1000),
}


def measure(kind: str, batch: int, dtype: str, given: Given) -> None:
    """Train both sides in turn, and ours with activation checkpointing after them."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / f"{kind}.pth")
        options = {"file": file, "batch": batch, "dtype": dtype}
        sides = [
            Side(given.peers, f"train_{kind}_theirs", given.threads, **options),
            Side(sys.executable, f"train_{kind}_ours", given.threads, **options),
        ]
        results = in_turn(sides, given.repeat)
        for side in sides:
            side.close()
        again = Side(
            sys.executable, f"train_{kind}_ours", given.threads, **options, checkpointing=True
        )
        results += in_turn([again], given.repeat)
        again.close()
        flops, convolutions = counted(kind, file, batch)
    print(f"\na step of {TITLES[kind]}, batch {batch}; all {dtype}")
    peaks = peak_product(dtype), convolutions and peak_convolutions(convolutions, dtype)
    names = (DALLE2_PYTORCH, "unclip", "with checkpointing")
    for name, one in zip(names, results, strict=True):
        tell(name, one, results[0], flops, peaks)


def tell(
    name: str, one: Result, peer: Result, flops: float, peaks: tuple[float, float | None]
) -> None:
    """A line of one side."""
    rate = flops / statistics.median(one.seconds)
    shares = f"{rate / peaks[0]:.0%} of a product's peak"
    if peaks[1]:
        shares += f", {rate / peaks[1]:.0%} of its convolutions'"
    faster = [t / o for t, o in zip(peer.seconds, one.seconds, strict=True)]
    print(
        f"  {name:<24}{spread(one.seconds)} s; {one.last_peak / 2**30:.2f} GiB; {shares}; "
        f"{spread(faster)} times as fast, {one.last_peak / peer.last_peak:.2f} of the memory",
        flush=True,
    )


def counted(kind: str, file: str, batch: int) -> tuple[float, Counter[tuple[Any, ...]]]:
    """FLOPs of a step, backward passes counted as two forward, and its convolutions by shape."""
    stage = _peer._ours(kind, file, CONFIGS[kind](), "float32").train()
    seen = _peer._examples(batch, 64)
    image = seen.pop("image").permute(0, 3, 1, 2).float() / 127.5 - 1
    cond = Cond(image=image, text_mask=torch.ones(batch, 77, dtype=torch.bool), **seen)
    found: Counter[tuple[Any, ...]] = Counter()

    def note(module: nn.Module, inputs: tuple[torch.Tensor], _: object) -> None:
        assert isinstance(module, nn.Conv2d)
        how = module.out_channels, module.kernel_size, module.stride, module.padding
        found[(tuple(inputs[0].shape), *how)] += 1

    for module in stage.net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)  # type: ignore[arg-type]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        stage.loss(cond, Rng(list(range(batch)), torch.device("cpu")))
    return 3.0 * counter.get_total_flops(), found


def peak_product(dtype: str) -> float:
    """FLOP/s of a product of two large matrices."""
    a = torch.randn(4096, 4096, dtype=getattr(torch, dtype))
    return 2 * 4096**3 / best(lambda: a @ a)


def peak_convolutions(every: Counter[tuple[Any, ...]], dtype: str) -> float:
    """FLOP/s of a network's convolutions, forward and backward, each run alone."""
    flops = seconds = 0.0
    for (shape, out, kernel, stride, padding), count in every.items():
        made = {"dtype": getattr(torch, dtype), "requires_grad": True}
        last = {"memory_format": torch.channels_last}
        x = torch.empty(shape, **made, **last)
        weight = torch.empty((out, shape[1], *kernel), **made, **last)
        with FlopCounterMode(display=False) as counter:
            y = F.conv2d(x, weight, None, stride, padding)
        gradient = torch.ones_like(y)

        def run(x: Any = x, weight: Any = weight, how: Any = (stride, padding, gradient)) -> None:
            F.conv2d(x, weight, None, how[0], how[1]).backward(how[2])
            x.grad = weight.grad = None

        flops += 3.0 * count * counter.get_total_flops()
        seconds += count * best(run)
    return flops / seconds


def best(run: Callable[[], Any], times: int = 4) -> float:
    """The least seconds of a call, after a first one."""
    run()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return min(taken)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", required=True, help="Python of the peers' environment")
    parser.add_argument("--only", choices=BATCH, nargs="*", default=list(BATCH))
    parser.add_argument("--batch", type=int, help="(prior 64, decoder 16)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeat", type=int, default=5)
    add_options(parser)
    asked = parser.parse_args(arguments)
    given = Given(asked.peers, asked.threads, asked.repeat)
    torch.set_num_threads(asked.threads)
    with quiet(asked.threads, asked.busy):
        for kind in asked.only:
            for dtype in formats():
                measure(kind, asked.batch or BATCH[kind], dtype, given)
            if formats() == ["float32"]:
                print("  bfloat16: not measured, this machine is slow in it")


if __name__ == "__main__":
    main()
