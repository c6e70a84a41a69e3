"""The one training loop."""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ..device import autocast, place
from ..errors import DataError, TrainingError, WorkersLostError
from ..nn.lora import merged
from ..rng import BatchRng
from ..stages import Stage
from .blocks import checkpoint_blocks, compile_blocks
from .budget import Pacer
from .clock import Clock
from .config import TrainConfig
from .distributed.engines import make_engine
from .distributed.store import SharedStore
from .ema import Ema
from .frozen import freeze
from .loader import Batch, Loader
from .optim import Learner, learning_rate
from .sam import climbed
from .saving import FolderStore, Store, gather, restore
from .state import saved_states
from .task import Task
from .world import World

LOG_SECONDS = 60.0
"""The watcher gets the means after so long, even before `log_every` steps."""


class Watcher(Protocol):
    """Who follows a training: the terminal, TensorBoard, a test."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Means since the last call."""

    def saving(self, step: int) -> None:
        """A state is about to be written: what it must not be ahead of is written now."""

    def note(self, line: str) -> None:
        """Something that a person may want to know, and that training goes on after."""

    def preview(self, step: int, stage: Stage) -> None:
        """Time to draw sample pictures with `stage`, which holds the averaged weights."""


class _Means:
    """Means of what the steps since the last log gave, not yet read off the device."""

    def __init__(self, now: float, world: World) -> None:
        self.since, self.steps, self.world = now, 0, world
        self._sums: dict[str, Tensor] = {}

    def add(self, metrics: dict[str, Tensor]) -> None:
        self.steps += 1
        self._sums = {key: self._sums.get(key, 0) + value for key, value in metrics.items()}

    def values(self) -> dict[str, float]:
        """Of all processes."""
        own = {key: float(value) / self.steps for key, value in self._sums.items()}
        return self.world.mean(own)


class Trainer:
    """Trains one stage: knows a task, a loader, an optimizer, an average and where to save.

    What is drawn for a sample depends on the seed and its position in the stream alone: a resumed
    run is the same run, and other batches of the same samples have the same draws.
    """

    def __init__(
        self,
        task: Task,
        loader: Loader,
        config: TrainConfig,
        folder: Path,
        seed: int = 0,
        device: torch.device | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.task, self.loader, self.config = task, loader, config
        self.folder, self.seed = folder, seed
        self.store: Store = FolderStore(folder)
        self.device = device or torch.device("cpu")
        self.clock = clock or Clock()
        self.pacer: Pacer | None = None  # of a stage with a budget
        self._previewed = self.clock.now()
        self._preview_seconds = 0.0
        self.step = 0
        self.seconds = 0.0  # of training, previews and saving included
        for module in (task, *task.frozen):
            place(module, self.device)
        self.net = task.stage.net
        freeze(self.net, config.freeze)
        self.ema = Ema(self.net, config.ema)
        if config.compile:
            compile_blocks(self.net)
        if config.activation_checkpointing:
            checkpoint_blocks(self.net)
        self.world = self.clock.world
        self.engine = make_engine(config, self.world, self.device)
        self.engine.arrange(task, self.ema)
        if not self.world.alone:
            self.store = SharedStore(self.store, self.world)
        self.learners = {key: Learner(*each) for key, each in task.learners(config).items()}

    def prepare(self) -> None:
        """Let the stage fit its statistics to as many samples as it asks for, before step 0.

        The data begin anew afterwards: a stage that asks for none trains on the same batches.
        """
        wanted = self.task.stage.prepare_samples
        if wanted == 0:
            return
        place, loader = self.loader.state_dict(), self.loader
        batches = math.ceil(wanted / (loader.batch_size * loader.world))
        with loader.undivided():
            conds = (self.task.cond(self._next(), self._rng()) for _ in range(batches))
            self.task.stage.prepare(conds)
        loader.load_state_dict(place)
        self.ema.restart(self.net)

    def run(self, watcher: Watcher) -> bool:
        """Train to the recipe's last step, or until the clock stops it; a state is saved then.

        Returns:
            Whether the last step was reached.

        Raises:
            TrainingError: the loss is not finite. The last good state stays.
            DataError, WorkersLostError: no batches come any more. A state is saved.
        """
        clock, config = self.clock, self.config
        self.loader.warn = self.loader.skipped.warn = watcher.note
        last = clock.now()
        if self.step == 0:
            self._preview(watcher)
        saved = clock.now()
        means = _Means(saved, self.world)
        while self.step < config.steps:
            try:
                metrics = self._step()
            except (DataError, WorkersLostError):
                if self.step and self.world.alone:  # others go on, and end with this one
                    self._save(watcher, means)
                raise
            means.add(metrics)
            now = clock.now()
            self.seconds, last = self.seconds + now - last, now
            config = self._follow(self.pacer)
            if self._is_due(means.since):
                self._log(watcher, means, now)
                means = _Means(now, self.world)
            if self._preview_is_due():
                self._preview(watcher)
            if clock.is_over():
                break
            if clock.has_passed(60 * config.checkpoint_minutes, since=saved):
                self._save(watcher, means)
                saved = clock.now()
        self._check_finite(means)
        self.seconds += clock.now() - last  # a GPU is done by now
        self._save(watcher, means)
        return self.step >= config.steps

    def _preview_is_due(self) -> bool:
        config = self.config
        by_steps = config.preview_every and self.step % config.preview_every == 0
        late = self.clock.has_passed(60 * config.preview_minutes, since=self._previewed)
        return bool(by_steps) or late or self.step == config.steps

    def _preview(self, watcher: Watcher) -> None:
        started = self.clock.now()
        watcher.preview(self.step, self.averaged())
        self._previewed = self.clock.now()
        self._preview_seconds = self._previewed - started
        if self.pacer:
            self.pacer.restart()

    def _follow(self, pacer: Pacer | None) -> TrainConfig:
        """Take as many steps as still fit into the stage's time. Returns the configuration."""
        if pacer is None:
            return self.config
        left = max(0.0, pacer.seconds - self.seconds)
        previews = 1 + int(left / (60 * self.config.preview_minutes))
        aside = previews * self._preview_seconds
        now = self.seconds
        steps = self.world.first(lambda: pacer.steps(self.config, self.step, now, aside))
        if steps != self.config.steps:
            self.config = pacer.tell(steps)
            for learner in self.learners.values():
                learner.config = learner.config.model_copy(update={"steps": steps})
        return self.config

    def _save(self, watcher: Watcher, means: _Means) -> None:
        """The watcher first: killed between the two, the last steps are done and logged again."""
        self._check_finite(means)
        watcher.saving(self.step)
        if self.pacer:
            self.pacer.restart()
        self.save()

    def seconds_per_step(self, batch_size: int, window: float) -> float:
        """Mean time of a step, from at least `window` seconds of real steps.

        The first step, with what is compiled in it and no batch in the queue, does not count. Then
        come rounds of 1, 2, 4, ... steps, of which the last is the result: what a step of a
        longer round takes is what data and device reach in the long run. Nothing is saved, and
        this trainer is not to be trained with afterwards.
        """
        self.config = self.config.model_copy(update={"batch_size": batch_size, "ramp": ()})
        self._timed(1)
        count = 1
        while self.world.decided((taken := self._timed(count)) < window):
            count *= 2
        return taken / count

    def _timed(self, steps: int) -> float:
        started = self.clock.now()
        for _ in range(steps):
            loss = self._step()["loss"]
        float(loss)  # which waits for the device
        return self.clock.now() - started

    def _step(self) -> dict[str, Tensor]:
        """One optimizer step; returns the loss and the metrics, not yet read off the device."""
        config = self.config
        self.loader.resize(self.world.share(config.batch_at(self.step)))
        batch = self._next()
        self.task.train()
        self.task.begin(self.step / config.steps, self.ema.average)
        metrics = self._backward(batch)
        if config.sam:
            with climbed([learner.net for learner in self.learners.values()], config.sam):
                self._backward(batch)
        norms = [learner.update(self.step) for learner in self.learners.values()]
        self.ema.update(self.net, self.step)
        self.step += 1
        return {**metrics, "grad_norm": norms[0].detach()}

    def _backward(self, batch: Batch) -> dict[str, Tensor]:
        """The gradients of a batch, and its loss and metrics."""
        config = self.config
        within = partial(autocast, self.device, config.dtype(self.device))
        rng, size = self._rng(), config.micro_batch
        apart = size is not None and size < rng.batch
        with self.engine.in_pieces() if apart else nullcontext():
            metrics = self.task.backward(batch, rng, size, within)
        self.engine.finish()
        return metrics

    def _next(self) -> Batch:
        return {k: v.to(self.device, non_blocking=True) for k, v in next(self.loader).items()}

    def _rng(self) -> BatchRng:
        """What is drawn for the last batch, by the seed and its place in the stream."""
        # for networks that draw by themselves, each process other numbers
        torch.manual_seed(self.seed * 1_000_003 + self.step + 1_000_000_007 * self.world.rank)
        key, loader = f"{self.seed}/{self.task.stage.kind}", self.loader
        return BatchRng(key, loader.batch_size, self.device, loader.first)

    def _is_due(self, since: float) -> bool:
        """Whether to log the steps since then; slow ones are logged without waiting."""
        step, config = self.step, self.config
        late = self.clock.has_passed(LOG_SECONDS, since=since)  # all are here: nobody hangs
        return late or step % config.log_every == 0 or step == config.steps

    def _log(self, watcher: Watcher, means: _Means, now: float) -> None:
        self._check_finite(means)
        pictures = means.steps * self.loader.batch_size * self.loader.world
        values = {
            **means.values(),
            "images_per_second": pictures / max(now - means.since, 1e-9),
            "learning_rate": learning_rate(self.config, self.step - 1),
        }
        watcher.scalars(self.step, values)

    def _check_finite(self, means: _Means) -> None:
        # a finite loss with a gradient that is not has spoilt the weights all the same
        values = means.values()
        bad = [key for key in ("loss", "grad_norm") if not math.isfinite(values.get(key, 0.0))]
        if not bad:
            self.task.check(values)
            return
        states = saved_states(self.folder)
        good = f"the last good state is {states[-1]}" if states else "no state was saved yet"
        raise TrainingError(
            f"the {bad[0]} is not finite at step {self.step}; {good}. "
            "Lower learning_rate or clip_grad, or set precision to float32, and resume"
        )

    def averaged(self) -> Stage:
        """The stage with the averaged weights, in evaluation mode; all processes ask together."""
        stage = self.engine.averaged(self.task.stage, self.ema).eval()
        return stage.with_net(merged(stage.net)) if self.world.is_first else stage

    def save(self) -> Path:
        """Write the whole state beside the older ones; nothing half-written is ever seen."""
        return self.store.write(gather(self))

    def resume(self) -> bool:
        """Go on from the newest saved state; False where there is none.

        Raises:
            TrainingError: the state is damaged or is of a network of another shape.
        """
        found = self.store.newest()
        if found is None:
            return False
        where, state = found
        restore(self, state, where)
        return True
