"""The one training loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from math import inf, nan
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ..device import autocast, place
from ..errors import DataError, OutputError, TrainingError, WorkersLostError, counted
from ..nn.layers import dropout_from
from ..nn.lora import merged
from ..rng import BatchRng
from ..stages import Stage
from .blocks import checkpoint_blocks, compile_blocks
from .clock import Clock
from .config import TrainConfig
from .distributed.engine import make_engine
from .distributed.store import SharedStore
from .distributed.world import World
from .ema import Ema
from .faults import Guard, to_skip
from .loader import Batch, Loader
from .optim import Learner, critic_config, learning_rate
from .saving import FolderStore, Store, gather, restore
from .state import Best, best_state, saved_states
from .task import Task
from .validation import Validation

FAILED_SAVES = 3
"""So many states in a row may fail to be written, as on a full disk, before training stops."""

LOG_SECONDS = 60.0
"""The watcher gets the means after so long, even before `log_every` steps."""


class Watcher(Protocol):
    """Who follows a training: the terminal, TensorBoard, a test."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Means since the last call."""

    def validated(self, step: int, values: dict[str, float]) -> None:
        """Losses of what is held out, by their names."""

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
        self._skipped: Tensor | int = 0

    def add(self, metrics: dict[str, Tensor], skipped: Tensor) -> None:
        """A step, which does not count where it was skipped."""
        self.steps += 1
        self._skipped = self._skipped + skipped.long()
        for key, value in metrics.items():
            self._sums[key] = self._sums.get(key, 0) + value.masked_fill(
                skipped.to(value.device), 0
            )

    def values(self) -> dict[str, float]:
        """Of all processes; not finite where every step was skipped."""
        made = self.steps - int(self._skipped)
        own = {key: float(value) / made if made else nan for key, value in self._sums.items()}
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
        self.store: Store = FolderStore(folder, config.keep_states)
        self.guard = Guard(config.faults)
        self.validation: Validation | None = None
        self.waited = 0.0  # seconds for batches, since the last log
        self._skipped: Tensor  # () bool, of the last step
        self._failed = 0  # how often in a row no state could be written
        self.device = device or torch.device("cpu")
        self.clock = clock or Clock()
        self.step = 0
        self.seconds = 0.0  # of training, previews and saving included
        for module in (task, *task.frozen):
            place(module, self.device)
        self.net = task.stage.net
        self.ema = Ema(self.net, config.ema)
        if config.compile:
            compile_blocks(self.net)
        if config.activation_checkpointing:
            checkpoint_blocks(self.net)
        self.world = self.clock.world
        self.engine = make_engine(config, self.world, self.device)
        self.forward = self.engine.arrange(task, self.ema)
        if not self.world.alone:
            self.store = SharedStore(self.store, self.world)
        self.learners = {"": Learner(self.net, config)}
        if task.critic is not None:
            self.learners["critic_"] = Learner(task.critic, critic_config(config, task.critic_rate))

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
            TrainingError: losses are not finite, or explode, whatever is done about it.
            OutputError: no state can be written, at the end or several times in a row.
            DataError, WorkersLostError: no batches come any more. A state is saved.
        """
        clock, config = self.clock, self.config
        self.loader.warn = self.loader.skipped.warn = watcher.note
        saved = last = clock.now()
        means = _Means(last, self.world)
        while self.step < config.steps:
            try:
                metrics = self._step()
            except (DataError, WorkersLostError):
                if self.step and self.world.alone:  # others go on, and end with this one
                    self._save(watcher, means)
                raise
            means.add(metrics, self._skipped)
            now = clock.now()
            self.seconds, last = self.seconds + now - last, now
            if self._is_due(means.since):
                if not self._goes_back(watcher):
                    self._log(watcher, means, now)
                means = _Means(now, self.world)
            self._validate(watcher, means)
            if self.step % config.preview_every == 0:
                watcher.preview(self.step, self.averaged())
            if clock.is_over():
                break
            if clock.wants_state() or clock.has_passed(60 * config.checkpoint_minutes, since=saved):
                self._save_or_go_on(watcher, means)
                saved = clock.now()
        went_back = self._goes_back(watcher)
        self.seconds += clock.now() - last  # a GPU is done by now
        if not went_back:
            self._save(watcher, means)
        return self.step >= config.steps

    def _validate(self, watcher: Watcher, means: _Means) -> None:
        """Where it is time: measure the averaged stage, and save a state if it is the best."""
        validation = self.validation
        if validation is None or not validation.is_due(self.step, self.config.steps):
            return
        stage = self.averaged()
        values = self.world.first(lambda: validation.measure(stage))
        watcher.validated(self.step, values)
        loss, best = values["validation"], best_state(self.folder)
        if self.world.decided(loss < (best.loss if best else inf)):
            best = Best(self.step, loss)
            self._save_or_go_on(watcher, means)
            self.store.judged(best)

    def _save(self, watcher: Watcher, means: _Means) -> None:
        """The watcher first: killed between the two, the last steps are done and logged again."""
        self.task.check(means.values())
        self.guard.look()
        watcher.saving(self.step)
        self.save()

    def _save_or_go_on(self, watcher: Watcher, means: _Means) -> None:
        """A disk that is full now may have room at the next time: until then nothing is lost."""
        try:
            if self._goes_back(watcher) or self.world.any(self.guard.exploding):
                return
            self._save(watcher, means)
            self._failed = 0
        except OutputError as error:
            self._failed += 1
            if self._failed > FAILED_SAVES or not self.world.alone:
                raise
            watcher.note(f"{error}; training goes on, and tries it again")

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
        rng = self._rng()
        dropout = dropout_from(self.task, rng.fork("dropout"))
        with autocast(self.device, config.dtype(self.device)), dropout:
            loss, metrics = self.forward(batch, rng)
        loss.backward()  # type: ignore[no-untyped-call]
        self.engine.finish()
        norms = [learner.clip() for learner in self.learners.values()]
        # of several processes all have the same gradients, and losses of their own
        self._skipped = to_skip([loss, *norms] if self.world.alone else norms)
        for learner in self.learners.values():
            learner.update(self.step, self._skipped)
        self.guard.add(loss, self._skipped)
        self.ema.update(self.net, self.step)
        self.step += 1
        values = {"loss": loss, "grad_norm": norms[0], **metrics}
        return {name: value.detach() for name, value in values.items()}

    def _next(self) -> Batch:
        asked = self.clock.now()
        batch = next(self.loader)
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

    def _log(self, watcher: Watcher, means: _Means, now: float) -> None:
        values = means.values()
        self.task.check(values)
        pictures = means.steps * self.loader.batch_size * self.loader.world
        values |= {
            "images_per_second": pictures / max(now - means.since, 1e-9),
            "data_wait": self.waited / max(now - means.since, 1e-9),
            "learning_rate": learning_rate(self.config, self.step - 1),
        }
        self.waited = 0.0
        watcher.scalars(self.step, values)

    def _goes_back(self, watcher: Watcher) -> bool:
        """Look at the last steps; where they were bad, go back to the newest state.

        It is saved anew, with the data that come next: a killed run does not go back forever.

        Raises:
            TrainingError: there is no state, or it has gone back too often.
        """
        if skipped := self.guard.look():
            watcher.note(
                f"{counted(skipped, 'step')} up to step {self.step} skipped, as loss or gradient "
                "was not finite; no weight has changed"
            )
        fault, at = self.guard.fault, self.step
        if not self.world.any(bool(fault)):
            return False
        fault = fault or "the loss of another process was bad"
        states = saved_states(self.folder)
        good = f"the last good state is {states[-1]}" if states else "no state was saved yet"
        rollbacks, position, seconds = self.guard.rollbacks, self.loader.state_dict(), self.seconds
        often = self.world.any(rollbacks >= self.config.faults.rollbacks)
        if not states or often or not self.resume(watcher.note):
            raise TrainingError(
                f"{fault}, at step {at}; {good}. "
                "Lower learning_rate or clip_grad, or set precision to float32, and resume"
            )
        self.loader.load_state_dict(position)
        self.seconds, self.guard.rollbacks = seconds, rollbacks + 1
        watcher.note(
            f"{fault}, at step {at}: back to step {self.step}, and on with the data that come next"
        )
        self.save()
        return True

    def averaged(self) -> Stage:
        """The stage with the averaged weights, in evaluation mode; all processes ask together."""
        stage = self.engine.averaged(self.task.stage, self.ema).eval()
        return stage.with_net(merged(stage.net)) if self.world.is_first else stage

    def save(self) -> Path:
        """Write the whole state beside the older ones; nothing half-written is ever seen."""
        return self.store.write(gather(self))

    def resume(self, warn: Callable[[str], None] = lambda line: None) -> bool:
        """Go on from the newest whole state; False where nothing was saved.

        `warn` is told of damaged ones, which are passed over.

        Raises:
            TrainingError: no state is whole, or it is of a network of another shape.
        """
        found = self.store.newest(warn)
        if found is None:
            return False
        where, state = found
        restore(self, state, where)
        return True
