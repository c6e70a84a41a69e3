"""The one training loop."""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..device import autocast, place
from ..errors import DataError, OutputError, UnclipError, WorkersLostError
from ..rng import BatchRng
from ..stages import Stage
from .blocks import checkpoint_blocks, compile_blocks
from .clock import Clock
from .config import TrainConfig
from .distributed.engines import make_engine
from .distributed.store import SharedStore
from .ema import Ema
from .faults import Guard, to_skip
from .following import Means, Watcher
from .frozen import freeze
from .keeping import Keeper
from .loader import Batch, Loader
from .optim import Learner, learning_rate
from .pacing import Paced
from .sam import climbed
from .saving import FolderStore, Store
from .task import Task
from .validation import Validation

LOG_SECONDS = 60.0
"""The watcher gets the means after so long, even before `log_every` steps."""


class Trainer(Keeper, Paced):
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
        self.store: Store = FolderStore(folder, config.keep_states)
        self.guard = Guard(config.faults)
        self.validation: Validation | None = None
        self.waited = 0.0  # seconds for batches, since the last log
        self._skipped: Tensor  # () bool, of the last step
        self.device = device or torch.device("cpu")
        self.clock = clock or Clock()
        self._previewed = self.clock.now()
        self.step = 0
        self.seconds = 0.0  # of training, previews and saving included
        self.facts: dict[str, Any] = {}
        for module in (task, *task.frozen):
            place(module, self.device)
        self.net = task.stage.net
        freeze(self.net, config.freeze, f"stages.{task.name}")
        self.ema = Ema(self.net, config.ema)
        if config.compile:
            compile_blocks(self.net)
        if config.activation_checkpointing:
            checkpoint_blocks(self.net)
        self.world = self.clock.world
        self.engine = make_engine(config, self.world, self.device)
        self.engine.check(task)
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
        counted = loader.skipped.state_dict()
        batches = math.ceil(wanted / (loader.batch_size * loader.world))
        with loader.undivided():
            conds = (self.task.cond(self._next(), self._rng()) for _ in range(batches))
            self.task.stage.prepare(conds)
        loader.load_state_dict(place)
        loader.skipped.load_state_dict(counted)
        self.ema.restart(self.net)

    def run(self, watcher: Watcher) -> bool:
        """Train to the recipe's last step, or until the clock stops it; a state is saved then.

        Returns:
            Whether the last step was reached.

        Raises:
            TrainingError: losses are not finite, or explode, whatever is done about it.
            OutputError: no state can be written, at the end or several times in a row.
            DataError, WorkersLostError: no batches come any more, in any process. A state is
                saved, unless the last loss exploded.
        """
        self.loader.warn = self.loader.skipped.warn = watcher.note
        while True:
            over = self._until_stopped(watcher)
            done = self.step >= self.config.steps  # not where it went back at the end
            if over or done:
                return done

    def _until_stopped(self, watcher: Watcher) -> bool:
        """Train to the last step and save, or go back. Returns whether the clock stopped it."""
        clock, config, over = self.clock, self.config, False
        last = clock.now()
        saved = self._first_preview(watcher)
        means = Means(saved, self.world)
        while self.step < config.steps:
            try:
                metrics = self._step()
            except (DataError, WorkersLostError, OutputError):  # of batches
                if self.step and self._is_good():
                    self._save(watcher, means)
                raise
            means.add(metrics, self._skipped)
            now = clock.now()
            self.seconds, last = self.seconds + now - last, now
            config = self._follow()
            if self._is_due(means.since):
                self.loader.skipped.meet(self.world)
                if not self._goes_back(watcher):
                    self._log(watcher, means, now)
                means = Means(now, self.world)
            saved = self._validated(watcher, means) or saved
            if self._preview_is_due():
                self._preview(watcher)
            if over := clock.is_over():
                break
            if clock.wants_state() or clock.has_passed(60 * config.checkpoint_minutes, since=saved):
                self._save_or_go_on(watcher, means)
                saved = self._resumed()
        went_back = self._goes_back(watcher, last=True)
        self.seconds += clock.now() - last  # a GPU is done by now
        if not went_back:
            self._save(watcher, means)
        return over

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
        norms = [learner.clip() for learner in self.learners.values()]
        # of several processes all have the same gradients, and losses of their own
        self._skipped = to_skip([metrics["loss"], *norms] if self.world.alone else norms)
        for learner in self.learners.values():
            learner.update(self.step, self._skipped)
        self.guard.add(metrics["loss"], self._skipped)
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
        asked = self.clock.now()
        place = self.loader.state_dict()
        try:
            batch = self.world.each(lambda: next(self.loader))
        except UnclipError:  # of any process: a state has the place that all have trained up to
            self.loader.load_state_dict(place)
            raise
        self.waited += self.clock.now() - asked
        return {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}

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

    def _log(self, watcher: Watcher, means: Means, now: float) -> None:
        values = means.values() | self.task.measure()
        self.task.check(values)
        pictures = means.steps * self.loader.batch_size * self.loader.world
        values |= {
            "images_per_second": pictures / max(now - means.since, 1e-9),
            "data_wait": self.waited / max(now - means.since, 1e-9),
            "learning_rate": learning_rate(self.config, self.step - 1),
        }
        self.waited = 0.0
        watcher.scalars(self.step, values)

    def averaged(self) -> Stage:
        """The stage with the averaged weights, in evaluation mode; all processes ask together."""
        return self.engine.averaged(self.task.stage, self.ema).eval()
