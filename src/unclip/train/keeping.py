"""What a training keeps: its states, the best of them, and the way back to the last good one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import OutputError, TrainingError, counted
from ..stages import Stage
from .config import TrainConfig
from .ema import Ema
from .faults import Guard
from .following import Means, Watcher
from .loader import Loader
from .optim import Learner
from .saving import Store, gather, restore
from .state import Best, best_state, saved_states
from .task import Task
from .validation import Validation
from .world import World

FAILED_SAVES = 3
"""So many states in a row may fail to be written, as on a full disk, before training stops."""


class Keeper(ABC):
    """The part of a trainer that saves and goes back."""

    task: Task
    loader: Loader
    config: TrainConfig
    folder: Path
    seed: int
    step: int
    seconds: float
    learners: dict[str, Learner]
    ema: Ema
    guard: Guard
    validation: Validation | None
    store: Store
    world: World
    facts: dict[str, Any]  # that the run wants to find in a state again
    _failed = 0  # how often in a row no state could be written

    @abstractmethod
    def averaged(self) -> Stage:
        """The stage with the averaged weights, in evaluation mode."""

    @property
    def held_out(self) -> float:
        """The share of the data's pictures that it never sees."""
        return (self.validation and self.validation.config.share) or 0.0

    def _validate(self, watcher: Watcher, means: Means) -> bool:
        """Where it is time: measure the averaged stage, and save a state if it is the best.

        Returns:
            Whether it was time.
        """
        validation = self.validation
        if validation is None or not validation.is_due(self.step, self.config.steps):
            return False
        stage = self.averaged()
        values = self.world.first(lambda: validation.measure(stage))
        watcher.validated(self.step, values)
        found = Best(self.step, values["validation"], validation.measured)
        if self.world.decided(found.beats(best_state(self.folder))):
            self._save_or_go_on(watcher, means)
            self.store.judged(found)
        return True

    def _save(self, watcher: Watcher, means: Means) -> None:
        """The watcher first: killed between the two, the last steps are done and logged again."""
        self.task.check(means.values())
        self.guard.look()
        self.world.each(lambda: watcher.saving(self.step))
        self.save()

    def _is_good(self) -> bool:
        """Whether the weights of now are worth a state.

        Where the last loss exploded they are not, if there is a state of before: it stays the
        newest.
        """
        self.guard.look()
        exploding = self.world.any(self.guard.exploding)
        return not (exploding and self.world.any(bool(saved_states(self.folder))))

    def _save_or_go_on(self, watcher: Watcher, means: Means) -> None:
        """A disk that is full now may have room at the next time: until then nothing is lost."""
        try:
            if self._goes_back(watcher) or not self._is_good():
                return
            if self.world.any(self.task.failing) and self.world.any(
                bool(saved_states(self.folder))
            ):
                return  # the newest state is of before it failed
            self._save(watcher, means)
            self._failed = 0
        except OutputError as error:
            self._failed += 1
            if self._failed > FAILED_SAVES:
                raise
            if self.world.is_first:
                watcher.note(f"{error}; training goes on, and tries it again")

    def _goes_back(self, watcher: Watcher, last: bool = False) -> bool:
        """Look at the last steps; where they were bad, go back to the newest state.

        `last`: no other step follows, so that one that exploded is enough, where there is a state.
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
        if last and not self._is_good():
            fault = fault or (self.guard.words if self.guard.exploding else "")
        elif not self.world.any(bool(fault)):
            return False
        fault = fault or "the loss of another process was bad"
        states = saved_states(self.folder)
        good = f"the last good state is {states[-1]}" if states else "no state was saved yet"
        rollbacks, position, seconds = self.guard.rollbacks, self.loader.state_dict(), self.seconds
        skipped_samples = self.loader.skipped.state_dict()
        often = self.world.any(rollbacks >= self.config.faults.rollbacks)
        if not states or often or not self.resume(watcher.note):
            raise TrainingError(
                f"{fault}, at step {at}; {good}. "
                "Lower learning_rate or clip_grad, or set precision to float32, and resume"
            )
        self.loader.load_state_dict(position)
        self.loader.skipped.load_state_dict(skipped_samples)
        self.seconds, self.guard.rollbacks = seconds, rollbacks + 1
        watcher.note(
            f"{fault}, at step {at}: back to step {self.step}, and on with the data that come next"
        )
        self.save()
        return True

    def save(self) -> Path:
        """Write the whole state beside the older ones; nothing half-written is ever seen."""
        self.loader.skipped.meet(self.world)
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
