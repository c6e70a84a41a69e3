"""How long a step of a stage takes, by steps that are made and forgotten."""

from __future__ import annotations

from .budget import TimeIsUp
from .trainer import Trainer


def seconds_per_step(trainer: Trainer, batch_size: int, window: float) -> float:
    """Mean time of a step, from at least `window` seconds of real steps.

    The first step, with what is compiled in it and no batch in the queue, does not count. Then
    come rounds of 1, 2, 4, ... steps, of which the last is the result: what a step of a longer
    round takes is what data and device reach in the long run. Nothing is saved, and the trainer is
    not to be trained with afterwards.

    Raises:
        TimeIsUp: the clock is over before that; the step at hand is the last.
    """
    trainer.config = trainer.config.model_copy(update={"batch_size": batch_size, "ramp": ()})
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
