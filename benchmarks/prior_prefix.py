"""The speed-up of computing the prior's constant prefix once instead of at every step.

    .venv/bin/python benchmarks/prior_prefix.py [width depth heads context steps]

The default is a typical size: width 512, depth 6, 8 heads, 77 tokens, 100 guided steps,
batch 4 (8 rows with guidance).
"""

from __future__ import annotations

import sys

import torch
from _machine import alone
from _timing import compare
from torch import Tensor

from unclip.nn.prior import PriorConfig, PriorNet
from unclip.types import Cond


def condition(config: PriorConfig, batch: int) -> Cond:
    """Random text of full context length."""
    return Cond(
        text_encodings=torch.randn(batch, config.context, config.text_width),
        text_mask=torch.ones(batch, config.context, dtype=torch.bool),
        text_embed=torch.randn(batch, config.embed_dim),
    )


@torch.inference_mode()
def prefix_once(net: PriorNet, cond: Cond, x: Tensor, steps: int) -> Tensor:
    """As in the package: compute the prefix once."""
    encoded = net.encode(cond)
    for t in range(steps):
        x = net(x, torch.full((len(x),), float(t)), encoded)
    return x


@torch.inference_mode()
def prefix_each_step(net: PriorNet, cond: Cond, x: Tensor, steps: int) -> Tensor:
    """As usual elsewhere: compute all tokens at every step."""
    for t in range(steps):
        x = net(x, torch.full((len(x),), float(t)), net.encode(cond))
    return x


def main() -> None:
    numbers = [int(word) for word in sys.argv[1:]] or [512, 6, 8, 77, 100]
    width, depth, heads, context, steps = numbers
    config = PriorConfig(
        width=width, depth=depth, heads=heads, embed_dim=512, text_width=512, context=context
    )
    torch.manual_seed(0)
    net, cond, x = PriorNet(config).eval(), condition(config, 8), torch.randn(8, 512)
    a, b = prefix_once(net, cond, x, 3), prefix_each_step(net, cond, x, 3)
    print(f"largest difference {float((a - b).abs().max()):.1e}")
    ours, usual = compare(
        lambda: prefix_once(net, cond, x, steps),
        lambda: prefix_each_step(net, cond, x, steps),
        repeat=3,
    )
    print(f"{steps} guided steps, batch 4, {context} tokens, {torch.get_num_threads()} threads:")
    print(f"once {ours:.2f} s, each step {usual:.2f} s: {usual / ours:.1f} times as fast")


if __name__ == "__main__":
    alone(main)
