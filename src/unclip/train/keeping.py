"""What a training keeps: its states, the best of them, and the way back to the last good one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ..errors import OutputError, TrainingError, counted
from .distributed.store import SharedStore
from .following import Means, Watcher
from .saving import FolderStore, Resumable, Store, gather, restore
from .state import KEEP, Best, best_state, good_state, saved_states
from .task import Task
from .world import World

FAILED_SAVES = 3
"""So many states in a row may fail to be written, as on a full disk, before training stops."""


class Keeper:
    """Saves the states of a training, and goes back to the last good one.

    Args:
        folder: where they are.
        world: the processes that train together.
        task: what is trained, which says when it fails.
        keep: how many of the newest states stay.
    """

    def __init__(
        self,
        folder: Path,
        world: World,
        task: Task,
        keep: int = KEEP,
    ) -> None:
        self.folder, self.world, self.task = folder, world, task
        self.store: Store = FolderStore(folder, keep)
        if not world.alone:
            self.store = SharedStore(self.store, world)
        self._waits = False  # whether no state was due the last time, as training fails
        self._failed = 0  # how often in a row no state could be written

    def save(self, training: Resumable) -> Path:
        """Write the whole state beside the older ones; nothing half-written is ever seen."""
        training.loader.skipped.meet(self.world)
        return self.store.write(gather(training))

    def resume(self, training: Resumable, warn: Callable[[str], None] = lambda line: None) -> bool:
        """Go on from the newest whole state; False where nothing was saved.

        `warn` is told of damaged ones, which are passed over.

        Raises:
            TrainingError: no state is whole, or it is of a network of another shape.
        """
        found = self.store.newest(warn)
        if found is None:
            return False
        where, state = found
        restore(training, state, where)
        return True

    def is_good(self, training: Resumable) -> bool:
        """Whether the weights of now are worth a state.

        Where the last loss exploded they are not, if there is a state of before: it stays the
        newest.
        """
        training.guard.look()
        exploding = self.world.any(training.guard.exploding)
        return not (exploding and self.world.any(bool(saved_states(self.folder))))

    def save_checked(self, training: Resumable, watcher: Watcher, means: Means) -> None:
        """The watcher first: killed between the two, the last steps are done and logged again."""
        self.task.check(means.values())
        training.guard.look()
        self.world.each(lambda: watcher.saving(training.step))
        self.save(training)

    def look(self, values: Mapping[str, float]) -> None:
        """Let the task and its detectors look at what is logged.

        Raises:
            TrainingError: it fails; the newest state now is the last good one.
        """
        try:
            self.task.check(values)
            self.task.detectors.look(values)
        except TrainingError:
            self.store.put_failed_aside()
            raise

    def save_last(self, training: Resumable, watcher: Watcher, means: Means) -> None:
        """Save at a stop, whatever a detector sees: all that was learnt is kept, and is named."""
        self.save_checked(training, watcher, means)
        if (failing := self.task.detectors.failing) and self.world.is_first:
            good = good_state(self.folder)
            kept = f"; {good}, the last one that does not, stays" if good else ""
            watcher.note(f"{failing}: the state of step {training.step} shows it{kept}")

    def save_or_go_on(
        self, training: Resumable, watcher: Watcher, means: Means, asked: bool = False
    ) -> None:
        """A disk that is full now may have room at the next time: until then nothing is lost.

        What looks as if it fails is saved only where a person has `asked`.
        """
        try:
            if self.go_back(training, watcher) or not self.is_good(training):
                return
            if asked:
                self.save_last(training, watcher, means)
            elif not self._is_to_wait(watcher):
                self.save_checked(training, watcher, means)
            self._failed = 0
        except OutputError as error:
            self._failed += 1
            if self._failed > FAILED_SAVES:
                raise
            if self.world.is_first:
                watcher.note(f"{error}; training goes on, and tries it again")

    def _is_to_wait(self, watcher: Watcher) -> bool:
        """Whether the newest state is to be of before it failed; said once."""
        failing, states = self.task.detectors.failing, saved_states(self.folder)
        waits = bool(failing) and self.world.any(bool(states))
        if waits and not self._waits and self.world.is_first:
            watcher.note(
                f"{failing}: until it is within its limits again no state is saved, but at a stop "
                f"or where a signal asks; the newest is {states[-1]}"
            )
        self._waits = waits
        return waits

    def keep_best(self, training: Resumable, found: Best, watcher: Watcher, means: Means) -> None:
        """Save the state that a validation loss was found of, if it is the best; point to it."""
        if self.world.decided(found.beats(best_state(self.folder))):
            self.save_or_go_on(training, watcher, means)
            self.store.judged(found)

    def go_back(self, training: Resumable, watcher: Watcher, last: bool = False) -> bool:
        """Look at the last steps; where they were bad, go back to the newest state.

        `last`: no other step follows, so that one that exploded is enough, where there is a state.
        It is saved anew, with the data that come next: a killed run does not go back forever.

        Raises:
            TrainingError: there is no state, or it has gone back too often.
        """
        guard, loader = training.guard, training.loader
        if skipped := guard.look():
            watcher.note(
                f"{counted(skipped, 'step')} up to step {training.step} skipped, as loss or "
                "gradient was not finite; no weight has changed"
            )
        fault, at = guard.fault, training.step
        if last and not self.is_good(training):
            fault = fault or (guard.words if guard.exploding else "")
        elif not self.world.any(bool(fault)):
            return False
        fault = fault or "the loss of another process was bad"
        states = saved_states(self.folder)
        good = f"the last good state is {states[-1]}" if states else "no state was saved yet"
        rollbacks, position, seconds = guard.rollbacks, loader.state_dict(), training.seconds
        skipped_samples = loader.skipped.state_dict()
        often = self.world.any(rollbacks >= guard.config.rollbacks)
        if not states or often or not self.resume(training, watcher.note):
            raise TrainingError(
                f"{fault}, at step {at}; {good}. "
                "Lower learning_rate or clip_grad, or set precision to float32, and resume"
            )
        loader.load_state_dict(position)
        loader.skipped.load_state_dict(skipped_samples)
        training.seconds, guard.rollbacks = seconds, rollbacks + 1
        watcher.note(
            f"{fault}, at step {at}: back to step {training.step}, and on with the data that come "
            "next"
        )
        self.save(training)
        return True
