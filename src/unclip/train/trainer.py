"""The one training loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..device import autocast, place
from ..errors import DataError, OutputError, WorkersLostError
from ..stages import Stage
from .blocks import checkpoint_blocks, compile_blocks
from .clock import Clock
from .config import TrainConfig
from .distributed.engines import make_engine
from .ema import Ema
from .faults import Guard, to_skip
from .feed import Feed
from .following import Means, Watcher
from .frozen import freeze
from .keeping import Keeper
from .loader import Batch, Loader
from .optim import Learner, learning_rate
from .pacing import Pacing
from .sam import climbed
from .state import Best
from .task import Task
from .validation import Validation

LOG_SECONDS = 60.0
"""The watcher gets the means after so long, even before `log_every` steps."""


class Trainer:
    """Trains one stage: a task's steps, of a `feed`, by a `pacing`, saved by a `keeper`."""

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
        self.folder = folder
        self.guard = Guard(config.faults)
        self.validation: Validation | None = None
        self._skipped: Tensor  # () bool, of the last step
        self.device = device or torch.device("cpu")
        self.clock = clock or Clock()
        self.world = self.clock.world
        self.feed = Feed(loader, seed, task.stage.kind, self.device, self.clock)
        self.pacing = Pacing(self.clock)
        self.keeper = Keeper(folder, self.world, task, config.keep_states)
        self.step = 0
        self.seconds = 0.0  # of training, previews and saving included
        self.facts: dict[str, Any] = {}  # that the run wants to find in a state again
        task.beginning = self.feed.beginning
        for module in (task, *task.frozen):
            place(module, self.device)
        self.net = task.stage.net
        freeze(self.net, config.freeze, f"stages.{task.name}")
        self.ema = Ema(self.net, config.ema)
        if config.compile:
            compile_blocks(self.net)
        if config.activation_checkpointing:
            checkpoint_blocks(self.net)
        self.engine = make_engine(config, self.world, self.device)
        self.engine.arrange(task, self.ema)
        self.learners = {key: Learner(*each) for key, each in task.learners(config).items()}

    def prepare(self) -> None:
        """Let the stage fit its statistics to as many samples as it asks for, before step 0.

        The data begin anew afterwards: a stage that asks for none trains on the same batches.
        """
        wanted = self.task.stage.prepare_samples
        if wanted == 0:
            return
        feed, loader = self.feed, self.loader
        place, counted = loader.state_dict(), loader.skipped.state_dict()
        batches = math.ceil(wanted / (loader.batch_size * loader.world))
        with loader.undivided():
            conds = (self.task.cond(feed.next(), feed.rng(self.step)) for _ in range(batches))
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
        clock, config, keeper, over = self.clock, self.config, self.keeper, False
        last = clock.now()
        saved = last if self.step else self._preview(watcher)
        means = Means(saved, self.world)
        while self.step < config.steps:
            try:
                metrics = self.advance()
            except (DataError, WorkersLostError, OutputError):  # of batches
                if self.step and keeper.is_good(self):
                    keeper.save_last(self, watcher, means)
                raise
            means.add(metrics, self._skipped)
            now = clock.now()
            self.seconds, last = self.seconds + now - last, now
            config = self._follow()
            if self._is_due(means.since):
                self.loader.skipped.meet(self.world)
                if not keeper.go_back(self, watcher):
                    self._log(watcher, means, now)
                means = Means(now, self.world)
            saved = self._validated(watcher, means) or saved
            if self.pacing.preview_is_due(config, self.step):
                self._preview(watcher)
            if over := clock.is_over():
                break
            asked = clock.wants_state()
            if asked or clock.has_passed(60 * config.checkpoint_minutes, since=saved):
                keeper.save_or_go_on(self, watcher, means, asked)
                saved = self.pacing.resumed()
        went_back = keeper.go_back(self, watcher, last=True)
        self.seconds += clock.now() - last  # a GPU is done by now
        if not went_back:
            keeper.save_last(self, watcher, means)
        return over

    def _follow(self) -> TrainConfig:
        """Take as many steps as fit into the stage's time. Returns the configuration."""
        every = self.validation.config.every if self.validation else 1
        config = self.pacing.follow(self.config, self.step, self.seconds, every)
        if config.steps != self.config.steps:
            self.config = config
            for learner in self.learners.values():
                learner.config = learner.config.model_copy(update={"steps": config.steps})
        return self.config

    def _preview(self, watcher: Watcher) -> float:
        """Draw a sample grid. Returns the time after it."""
        with self.pacing.previewing():
            watcher.preview(self.step, self.averaged())
        return self.clock.now()

    def _validated(self, watcher: Watcher, means: Means) -> float | None:
        """Measure where it is time; the time after that, at which no state is due."""
        validation = self.validation
        if validation is None or not validation.is_due(self.step, self.config.steps):
            return None
        with self.pacing.validating():
            stage = self.averaged()
            values = self.world.first(lambda: validation.measure(stage))
            watcher.validated(self.step, values)
            found = Best(self.step, values["validation"], validation.measured)
            self.keeper.keep_best(self, found, watcher, means)
        return self.clock.now()

    def advance(self) -> dict[str, Tensor]:
        """One optimizer step; returns the loss and the metrics, not yet read off the device."""
        config = self.config
        self.loader.resize(self.world.share(config.batch_at(self.step)))
        batch = self.feed.next()
        self.task.train()
        average = self.engine.average(self.ema) if self.task.asks_average else self.ema.average
        self.task.begin(self.step / config.steps, average)
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
        rng, size = self.feed.rng(self.step), config.micro_batch
        apart = size is not None and size < rng.batch
        with self.engine.in_pieces() if apart else nullcontext():
            metrics = self.task.backward(batch, rng, size, within)
        self.engine.finish()
        return metrics

    def _is_due(self, since: float) -> bool:
        """Whether to log the steps since then; slow ones are logged without waiting."""
        step, config = self.step, self.config
        late = self.clock.has_passed(LOG_SECONDS, since=since)  # all are here: nobody hangs
        return late or step % config.log_every == 0 or step == config.steps

    def _log(self, watcher: Watcher, means: Means, now: float) -> None:
        measured = self.task.measure(partial(self.engine.average, self.ema))
        values = means.values() | self.world.mean(measured)
        self.keeper.look(values)
        pictures = means.steps * self.loader.batch_size * self.loader.world
        values |= {
            "images_per_second": pictures / max(now - means.since, 1e-9),
            "data_wait": self.feed.waited() / max(now - means.since, 1e-9),
            "learning_rate": learning_rate(self.config, self.step - 1),
        }
        watcher.scalars(self.step, values)

    def averaged(self) -> Stage:
        """The stage with the averaged weights, in evaluation mode; all processes ask together."""
        return self.engine.averaged(self.task.stage, self.ema).eval()

    @property
    def held_out(self) -> float:
        """The share of the data's pictures that it never sees."""
        return (self.validation and self.validation.config.share) or 0.0

    def save(self) -> Path:
        """Write the whole state beside the older ones; nothing half-written is ever seen."""
        return self.keeper.save(self)

    def resume(self, warn: Callable[[str], None] = lambda line: None) -> bool:
        """Go on from the newest whole state, as `Keeper.resume`; False where there is none."""
        return self.keeper.resume(self, warn)
