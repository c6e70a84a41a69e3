"""What 8-bit weights of the decoder cost in accuracy, by how their scales are grouped.

    .venv/bin/python benchmarks/int8.py [--model MODEL]

For the scales that `unclip convert --dtype int8` writes, and for others: size, relative RMS error
of the weights (all, and the worst tensor's), largest error relative to the tensor's largest number,
and PSNR of eight pictures in float32 at fixed seeds. The last line computes in bfloat16 instead.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from math import gcd, prod

import torch
from torch import Tensor

from unclip.checkpoints.int8 import to_int8
from unclip.checkpoints.lazy_tensor import LazyTensor
from unclip.facade import Pipeline
from unclip.loading import load, plan

PROMPTS = [
    "a red car", "two foxes", "a blue tree above a house", "three apples",
    "a green tree left of a dog", "a cat", "a pizza and a car", "a yellow star",
]  # fmt: skip
Coded = tuple[Tensor, int]
"""Weights as they are read again, and the count of their scales."""


def rounded(x: Tensor, top: Tensor) -> Coded:
    """The product of 8 bits and a bfloat16 scale for each number of `top`."""
    scale = (top / 127).bfloat16().float()
    scale = torch.where(scale > 0, scale, 1)
    return (x / scale).round().clamp(-127, 127) * scale, scale.numel()


def per_channel(x: Tensor) -> Coded:
    return rounded(x, x.abs().amax(tuple(range(1, x.ndim)), keepdim=True))


def as_written(x: Tensor) -> Coded:
    return rounded(x, x.abs().amax(1, keepdim=True))


def clipped(x: Tensor) -> Coded:
    """The same, of twenty smaller scales the one with the smallest error."""
    top = x.abs().amax(1, keepdim=True)
    tries = [rounded(x, top * (1 - 0.02 * i)) for i in range(20)]
    errors = torch.stack([(y - x).square().sum(1, keepdim=True) for y, _ in tries])
    best = (1 - 0.02 * errors.argmin(0)) * top
    return rounded(x, best)


def per_64(x: Tensor) -> Coded:
    rows = x.flatten(1)
    groups = rows.reshape(-1, gcd(rows.shape[1], 64))
    y, count = rounded(groups, groups.abs().amax(1, keepdim=True))
    return y.reshape(x.shape), count


WAYS: dict[str, Callable[[Tensor], Coded]] = {
    "per output channel": per_channel,
    "and kernel position (as written)": as_written,
    "the same, clipped for least error": clipped,
    "per 64 numbers": per_64,
}


def pictures(pipe: Pipeline) -> Tensor:
    seeds = range(2204, 2204 + len(PROMPTS))
    return pipe.sample(pipe.read(PROMPTS), list(seeds)).float().clamp(-1, 1)


def psnr(a: Tensor, b: Tensor) -> str:
    each = -10 * ((a - b) / 2).square().flatten(1).mean(1).log10()
    return f"PSNR {each.mean():.1f} dB, worst {each.min():.1f}"


def large(tensors: dict[str, LazyTensor]) -> dict[str, Tensor]:
    """Those that are stored in 8 bits."""
    kinds = {name: one.dtype for name, one in to_int8(tensors).items()}
    return {n: one.read().float() for n, one in tensors.items() if kinds[n] == torch.int8}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--model", default=None)
    model = parser.parse_args().model
    tensors = plan(model).parts["decoder"].translated("decoder")
    true = large(tensors)
    rest = sum(2 * prod(one.shape) for name, one in tensors.items() if name not in true)
    pipe = load(model, "cpu", torch.float32)
    own, reference = pipe.model.stages["decoder"].net.state_dict(), pictures(pipe)
    for way, code in WAYS.items():
        made = {name: code(value) for name, value in true.items()}
        size = rest + sum(value.numel() + 2 * count for value, count in made.values())
        errors = {name: made[name][0] - value for name, value in true.items()}
        square = [sum(float(v.square().sum()) for v in d.values()) for d in (errors, true)]
        worst = max(float(errors[n].norm() / v.norm()) for n, v in true.items())
        most = max(float(errors[n].abs().max() / v.abs().max()) for n, v in true.items())
        for name, (value, _) in made.items():
            own[name].copy_(value)
        print(
            f"{way:34} {size / 2**20:.2f} MiB  RMS {(square[0] / square[1]) ** 0.5:.2%}, "
            f"worst {worst:.2%}, largest {most:.2%}  {psnr(pictures(pipe), reference)}"
        )
    other = pictures(load(model, "cpu", torch.bfloat16))
    print(f"{'float16 weights in bfloat16':34} {psnr(other, reference)}")


if __name__ == "__main__":
    main()
