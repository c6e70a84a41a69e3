"""The time of each part of a training step: data, networks, clipping, optimizers, EMA.

.venv/bin/python benchmarks/train_step.py [--batch 32] [--float32] [--stage decoder]

Prints the median over the steps and the share of the total for each part, in one process. The
last line compares the share of Muon with its limit.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from _machine import alone

from unclip.device import autocast, describe, fast_dtype, pick_device
from unclip.errors import DataError
from unclip.train.recipe import Recipe, load_recipe
from unclip.train.run import Run
from unclip.train.trainer import Trainer

MUON = 0.15
"""Largest share of Muon in a step of 32 pictures."""


class Parts:
    """Seconds by part, one entry per step."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def timed(self, name: str, work: Callable[[], Any]) -> Any:
        """Run `work`, wait for the device and record the time."""
        start = time.perf_counter()
        result = work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds[name].append(time.perf_counter() - start)
        return result


def step(trainer: Trainer, parts: Parts) -> None:
    """The parts of `Trainer._step`, timed separately."""
    batch = parts.timed("data", trainer._next)
    rng, task, config = trainer._rng(), trainer.task.train(), trainer.config
    with autocast(trainer.device, config.dtype(trainer.device)):
        cond = parts.timed("frozen CLIP and prior", lambda: task.cond(batch, rng))
        loss = parts.timed("forward", lambda: task.loss(cond, rng)[0].mean())
    parts.timed("backward", loss.backward)
    parameters = list(trainer.net.parameters())
    clip = torch.nn.utils.clip_grad_norm_
    parts.timed("clipping", lambda: clip(parameters, config.clip_grad))
    for optimizer in trainer.learners[""].optimizers:
        parts.timed(type(optimizer).__name__, optimizer.step)
        optimizer.zero_grad(set_to_none=True)
    parts.timed("average", lambda: trainer.ema.update(trainer.net, trainer.step))
    trainer.step += 1


def with_data(name: str) -> Recipe:
    """The recipe, with generated shapes if its data are missing."""
    recipe = load_recipe(name)
    try:
        recipe.source()
    except DataError as error:
        print(f"using generated shapes instead of the recipe's data: {error}")
        return load_recipe(name, ["data={source='shapes'}"])
    return recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="emoji-cpu")
    parser.add_argument("--stage", default="decoder")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--float32", action="store_true", help="never use bfloat16")
    wanted = parser.parse_args()
    device = pick_device()
    if wanted.float32:
        patch("unclip.device.cpu_has_bf16", lambda: False).start()
    recipe = with_data(wanted.recipe)
    recipe = recipe.with_train(wanted.stage, batch_size=wanted.batch, workers=0)
    parts = Parts()
    with TemporaryDirectory() as folder:
        trainer = Run(recipe, Path(folder), device).untrained(wanted.stage)
        for _ in range(wanted.steps + 1):
            step(trainer, parts)
    medians = {part: statistics.median(all_[1:]) for part, all_ in parts.seconds.items()}
    total = sum(medians.values())
    print(f"{wanted.recipe}, {wanted.stage}, batch {wanted.batch}, no worker")
    print(f"{describe(device)}, {str(fast_dtype(device)).removeprefix('torch.')}")
    for part, seconds in medians.items():
        print(f"{part:22}{seconds:8.3f} s {100 * seconds / total:5.1f} %")
    print(f"{'all':22}{total:8.3f} s")
    if "Muon" in medians:
        share = medians["Muon"] / total
        verdict = "within" if share <= MUON else "above"
        print(f"Muon's share {100 * share:.1f} %: {verdict} the bar of {100 * MUON:.0f} %")


if __name__ == "__main__":
    alone(main)
