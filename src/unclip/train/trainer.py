"""The one training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ..device import autocast, place
from ..errors import TrainingError, WorkersLostError
from ..rng import BatchRng
from ..stages import Stage
from .ema import Ema
from .loader import Batch, Loader
from .optim import learning_rate, make_optimizers, optimizer_tensors, restore_optimizers
from .recipe import TrainConfig
from .state import State, load_state, save_state, saved_states
from .task import Task

LOG_SECONDS = 60.0
"""The watcher is told after so long, even before `log_every` steps."""


class Watcher(Protocol):
    """Who is told how training goes: the terminal, TensorBoard, a test."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Means since the last call."""
        ...

    def saving(self, step: int) -> None:
        """A state is about to be written: what it must not be ahead of is written now."""
        ...

    def note(self, line: str) -> None:
        """Something that a person may want to know, and that training goes on after."""
        ...

    def preview(self, step: int, stage: Stage) -> None:
        """Time to draw sample pictures with `stage`, which holds the averaged weights."""
        ...


@dataclass(frozen=True)
class Limits:
    """When to stop before the recipe's last step."""

    minutes: float | None = None
    stop: Callable[[], bool] = lambda: False


class Trainer:
    """Trains one stage: knows a task, a loader, an optimizer, an average and where to save.

    Every random draw of step k comes from (seed, k) alone, so a resumed run is the same run.
    """

    def __init__(
        self,
        task: Task,
        loader: Loader,
        config: TrainConfig,
        folder: Path,
        seed: int = 0,
        device: torch.device | None = None,
    ) -> None:
        self.task, self.loader, self.config = task, loader, config
        self.folder, self.seed = folder, seed
        self.device = device or torch.device("cpu")
        self.step = 0
        self.seconds = 0.0  # of training, previews and saving included
        for module in (task, *task.clip, *task.prior):
            place(module, self.device)
        self.net = task.stage.net
        self.optimizers = make_optimizers(self.net, config)
        self.ema = Ema(self.net, config.ema)

    def prepare(self) -> None:
        """Let the stage fit its statistics to as many samples as it asks for, before step 0.

        The data begin anew afterwards: a stage that asks for none trains on the same batches.
        """
        wanted = self.task.stage.prepare_samples
        if wanted == 0:
            return
        place = self.loader.state_dict()
        batches = math.ceil(wanted / self.loader.batch_size)
        rng = BatchRng(f"{self.seed}/prepare", self.loader.batch_size, self.device)
        self.task.stage.prepare(self.task.cond(self._next(), rng) for _ in range(batches))
        self.loader.load_state_dict(place)
        self.ema = Ema(self.net, self.config.ema)

    def run(self, watcher: Watcher, limits: Limits | None = None) -> bool:
        """Train to the recipe's last step, or to a limit; a state is saved either way.

        Returns:
            Whether the last step was reached.

        Raises:
            TrainingError: the loss is not finite. The last good state stays.
            WorkersLostError: no batches come any more. A state is saved.
        """
        limits = limits or Limits()
        self.loader.tell = watcher.note
        started = saved = last = time.monotonic()
        totals: dict[str, Tensor] = {}
        since = (self.step, started)
        while self.step < self.config.steps:
            try:
                metrics = self._step()
            except WorkersLostError:
                self._check_finite(totals)
                self._save(watcher)
                raise
            totals = {k: totals[k] + v if k in totals else v for k, v in metrics.items()}
            now = time.monotonic()
            self.seconds, last = self.seconds + now - last, now
            if self._is_due(now - since[1]):
                self._log(watcher, totals, since, now)
                totals, since = {}, (self.step, now)
            if self.step % self.config.preview_every == 0:
                watcher.preview(self.step, self.averaged())
            spent = limits.minutes is not None and now - started > 60 * limits.minutes
            if spent or limits.stop():
                break
            if now - saved > 60 * self.config.checkpoint_minutes:
                self._check_finite(totals)
                self._save(watcher)
                saved = time.monotonic()
        self._check_finite(totals)
        self.seconds += time.monotonic() - last  # a GPU is done by now
        self._save(watcher)
        return self.step >= self.config.steps

    def _save(self, watcher: Watcher) -> None:
        """The watcher first: killed between the two, the last steps are done and told again."""
        watcher.saving(self.step)
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
        while (taken := self._timed(count)) < window:
            count *= 2
        return taken / count

    def _timed(self, steps: int) -> float:
        started = time.monotonic()
        for _ in range(steps):
            loss = self._step()["loss"]
        float(loss)  # which waits for the device
        return time.monotonic() - started

    def _step(self) -> dict[str, Tensor]:
        """One optimizer step; returns the loss and the metrics, not yet read off the device."""
        config = self.config
        self.loader.resize(config.batch_at(self.step))
        batch = self._next()
        for group in (group for one in self.optimizers for group in one.param_groups):
            group["lr"] = learning_rate(config, self.step)
        self.task.train()
        with autocast(self.device, self.config.dtype(self.device)):
            loss, metrics = self.task(batch, self._rng(batch))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), config.clip_grad)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.ema.update(self.net, self.step)
        self.step += 1
        told = {"loss": loss, "grad_norm": norm, **metrics}
        return {name: value.detach() for name, value in told.items()}

    def _next(self) -> Batch:
        return {k: v.to(self.device, non_blocking=True) for k, v in next(self.loader).items()}

    def _rng(self, batch: Batch) -> BatchRng:
        torch.manual_seed(self.seed * 1_000_003 + self.step)  # dropout
        size = len(batch["text_tokens"])
        rank = self.loader.rank
        return BatchRng(f"{self.seed}/{self.task.stage.kind}/{rank}/{self.step}", size, self.device)

    def _is_due(self, seconds: float) -> bool:
        """Whether to tell of the steps since `seconds` ago; slow ones are told without waiting."""
        step, config = self.step, self.config
        return step % config.log_every == 0 or step == config.steps or seconds > LOG_SECONDS

    def _log(
        self, watcher: Watcher, totals: dict[str, Tensor], since: tuple[int, float], now: float
    ) -> None:
        count = self.step - since[0]
        self._check_finite(totals)
        values = {name: float(total) / count for name, total in totals.items()}
        values["images_per_second"] = (
            count * self.loader.batch_size * self.loader.world / max(now - since[1], 1e-9)
        )
        values["learning_rate"] = learning_rate(self.config, self.step - 1)
        watcher.scalars(self.step, values)

    def _check_finite(self, totals: dict[str, Tensor]) -> None:
        # a finite loss with a gradient that is not has spoilt the weights all the same
        watched = [name for name in ("loss", "grad_norm") if name in totals]
        bad = [name for name in watched if not math.isfinite(float(totals[name]))]
        if not bad:
            return
        states = saved_states(self.folder)
        good = f"the last good state is {states[-1]}" if states else "no state was saved yet"
        raise TrainingError(
            f"the {bad[0]} is not finite at step {self.step}; {good}. "
            "Lower learning_rate or clip_grad, or set precision to float32, and resume"
        )

    def averaged(self) -> Stage:
        """The stage with the averaged weights, in evaluation mode."""
        return self.task.stage.with_net(self.ema.average).eval()

    def save(self) -> Path:
        """Write the whole state beside the older ones; nothing half-written is ever seen."""
        values = {
            "step": self.step,
            "seconds": self.seconds,
            "seed": self.seed,
            "data": self.loader.state_dict(),
        }
        tensors = {
            "net": dict(self.net.state_dict()),
            "ema": dict(self.ema.average.state_dict()),
            "optimizer": optimizer_tensors(self.optimizers, self.net),
        }
        return save_state(self.folder, State(values, tensors))

    def resume(self) -> bool:
        """Go on from the newest saved state; False where there is none.

        Raises:
            TrainingError: the state is damaged or is of a network of another shape.
        """
        states = saved_states(self.folder)
        if not states:
            return False
        state = load_state(states[-1])
        if "optimizer" not in state.tensors:
            raise TrainingError(f"{states[-1]} is damaged: it has no optimizer.safetensors")
        for net, group in ((self.net, "net"), (self.ema.average, "ema")):
            try:
                net.load_state_dict(state.tensors.get(group, {}))
            except RuntimeError as error:
                first = str(error).splitlines()[1].strip()
                raise TrainingError(f"{states[-1]} does not fit the recipe: {first}") from None
        restore_optimizers(self.optimizers, self.net, state.tensors["optimizer"])
        try:
            self.step, self.seconds = int(state.values["step"]), float(state.values["seconds"])
            self.loader.load_state_dict(state.values["data"])
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"{states[-1] / 'state.json'} is damaged: {error!r}") from None
        return True
