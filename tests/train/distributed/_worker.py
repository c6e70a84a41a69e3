"""Trains one stage in each of several processes; the first writes down the losses of its steps.

torchrun ... _worker.py RECIPE OUT STAGE LOSSES [SETTING ...]
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from unclip.train.clock import Clock
from unclip.train.distributed.joining import join, restarted
from unclip.train.recipe import load_recipe
from unclip.train.run import Run
from unclip.train.watch import Bystander


class Written:
    """A watcher of the first process."""

    def __init__(self, run: Run, name: str, trainer: Any) -> None:
        self.run, self.name, self.trainer = run, name, trainer
        self.losses: dict[int, float] = {}

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self.losses[step] = values["loss"]

    def validated(self, step: int, values: dict[str, float]) -> None:
        assert values["validation"] > 0

    def saving(self, step: int) -> None:
        self.run.export(self.name, self.trainer.averaged())

    def note(self, line: str) -> None:
        pass

    def preview(self, step: int, stage: Any) -> None:
        pass


def main(*words: str) -> None:
    world, device = join("cpu", float(os.environ.get("MINUTES", "1")))
    with world.together():
        learn(world, device, *words)


def learn(
    world: Any, device: Any, recipe: str, out: str, stage: str, losses: str, *more: str
) -> None:
    run = Run(load_recipe(recipe, more), Path(out), device, Clock(world=world))
    run.check()
    run.begin(resume=True)
    trainer = run.trainer(stage)
    misbehave(trainer)
    until = int(os.environ.get("UNTIL", "1000000"))
    trainer.clock.stop = lambda: trainer.step >= until
    watcher = Written(run, stage, trainer)
    trainer.run(watcher if world.is_first else Bystander(trainer))
    if world.is_first:
        Path(losses).write_text(json.dumps({"begun": trainer.step, **watcher.losses}))
    run.end()


def misbehave(trainer: Any) -> None:
    """What BAD says: the second process is killed, hangs or fails in its third step.

    Or all it draws is one picture from there on.
    """
    bad, forward = os.environ.get("BAD"), trainer.task.forward
    if bad == "collapses":
        collapsed = 2 if trainer.world.rank == 1 else 10**6
        trainer.task.measure = lambda _: {"diversity": 1.0 if trainer.step <= collapsed else 0.0}
        return
    if bad is None or trainer.world.rank != 1 or restarted():
        return

    def spoilt(*given: Any) -> Any:
        if trainer.step == 2 and bad == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if trainer.step == 2 and bad == "hangs":
            time.sleep(600)
        if trainer.step == 2 and bad == "fails":
            raise ValueError("the moon is down")
        return forward(*given)

    trainer.task.forward = spoilt


if __name__ == "__main__":
    main(*sys.argv[1:])
