"""How long a step of a stage takes, by steps that are made and forgotten."""

from __future__ import annotations

import math
from itertools import pairwise

from .budget import TimeIsUp
from .trainer import Trainer

_STEPS = 2**40
"""Of a training in which no step that is made here comes to another of its phases."""


def seconds_per_step(trainer: Trainer, batch_size: int, window: float) -> float:
    """Mean time of a step, from at least `window` seconds of real steps.

    Where what a step computes changes as training goes on (`Task.phases`), it is the mean of all.
    The first step, with what is compiled in it and no batch in the queue, does not count. Then
    come rounds of 1, 2, 4, ... steps, of which the last is the result: what a step of a longer
    round takes is what data and device reach in the long run. Nothing is saved, and the trainer is
    not to be trained with afterwards.

    Raises:
        TimeIsUp: the clock is over before that; the step at hand is the last.
    """
    usual = {"batch_size": batch_size, "ramp": (), "steps": _STEPS}
    trainer.config = trainer.config.model_copy(update=usual)
    phases, mean = trainer.task.phases, 0.0
    for start, end in pairwise((*phases, 1.0)):
        trainer.step = math.ceil(start * _STEPS)
        mean += (end - start) * _seconds(trainer, window / len(phases))
    return mean


def _seconds(trainer: Trainer, window: float) -> float:
    """The mean time of the steps that come now."""
    _timed(trainer, 1)
    count = 1
    while trainer.world.decided((taken := _timed(trainer, count)) < window):
        count *= 2
    return taken / count


def _timed(trainer: Trainer, steps: int) -> float:
    started = trainer.clock.now()
    for _ in range(steps):
        if trainer.clock.is_over():
            raise TimeIsUp.while_measuring(trainer.task.name)
        loss = trainer.advance()["loss"]
    float(loss)  # which waits for the device
    return trainer.clock.now() - started
