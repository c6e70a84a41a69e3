"""A trainer's whole state: gathered to be written, and restored from what was read.

A `Store` writes and reads states; what they hold is known here alone. Another store, such as one
that writes from many processes at once, needs `write` and `newest` and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from ..errors import TrainingError
from .ema import Ema
from .faults import Guard
from .feed import Feed
from .loader import Loader
from .lora import kept, put_back
from .optim import Learner, optimizer_tensors, restore_optimizers
from .state import (
    KEEP,
    Best,
    State,
    best_state,
    mark_best,
    newest_state,
    put_failed_aside,
    save_state,
    state_at,
)
from .task import Task


class Resumable(Protocol):
    """What of a trainer is saved."""

    step: int
    seconds: float
    feed: Feed
    loader: Loader
    learners: dict[str, Learner]
    ema: Ema
    guard: Guard
    facts: dict[str, Any]

    @property
    def task(self) -> Task:
        """What is trained."""

    @property
    def held_out(self) -> float:
        """The share of the data's pictures that it never sees."""


class Store(Protocol):
    """Where states are kept."""

    def write(self, state: State) -> Path:
        """Write a whole state beside the older ones; nothing half-written is ever seen."""

    def judged(self, best: Best) -> None:
        """The state of a step, if it was written, has this validation loss; the best is kept."""

    def put_failed_aside(self) -> None:
        """Of the newest states, those that show a failure are states no more, but are kept."""

    def newest(self, warn: Callable[[str], None]) -> tuple[Path, State] | None:
        """The newest whole state and where it is; None where nothing was saved.

        `warn` is told of damaged ones, which are passed over.
        """


class FolderStore:
    """States in a folder of this machine, one folder each."""

    def __init__(self, folder: Path, keep: int = KEEP) -> None:
        self.folder, self.keep = folder, keep

    def write(self, state: State) -> Path:
        """See `Store`."""
        return save_state(self.folder, state, self.keep)

    def judged(self, best: Best) -> None:
        """See `Store`."""
        there = state_at(self.folder, best.step).is_dir()
        if there and best.beats(best_state(self.folder)):
            mark_best(self.folder, best)

    def put_failed_aside(self) -> None:
        """See `Store`."""
        put_failed_aside(self.folder)

    def newest(self, warn: Callable[[str], None]) -> tuple[Path, State] | None:
        """See `Store`."""
        return newest_state(self.folder, warn)


def gather(trainer: Resumable) -> State:
    """All that the next step depends on."""
    values: dict[str, Any] = {
        "step": trainer.step,
        "seconds": trainer.seconds,
        "seed": trainer.feed.seed,
        "held_out": trainer.held_out,
    }
    tensors = {"ema": kept(trainer.ema.average)}
    for prefix, learner in trainer.learners.items():
        tensors[f"{prefix}net"] = kept(learner.net)
        tensors[f"{prefix}optimizer"] = optimizer_tensors(learner.optimizers, learner.net)
    values |= {"data": trainer.loader.state_dict(), "guard": trainer.guard.state_dict()}
    values |= {"facts": trainer.facts, "looks": trainer.task.detectors.state_dict()}
    values["failing"] = trainer.task.detectors.failing
    values["skipped"] = trainer.loader.skipped.state_dict()
    return State(values, tensors)


def restore(trainer: Resumable, state: State, where: Path) -> None:
    """Undo `gather`.

    Args:
        trainer: of the same recipe.
        state: what was gathered.
        where: it was read from, for errors.

    Raises:
        TrainingError: the state is damaged or is of a network of another shape, or has been
            trained on what would be held out now.
    """
    _check_held_out(trainer, state, where)
    nets = {f"{prefix}net": learner.net for prefix, learner in trainer.learners.items()}
    for prefix in trainer.learners:
        if f"{prefix}optimizer" not in state.tensors:
            raise TrainingError(f"{where} is damaged: it has no {prefix}optimizer.safetensors")
    for group, net in {**nets, "ema": trainer.ema.average}.items():
        saved = state.tensors.get(group, {})
        if fault := _misfit(saved, kept(net)):
            raise TrainingError(
                f"{where} does not fit the recipe: {fault}; set the stage's network back "
                "to what it was, or train it anew in another folder"
            )
        put_back(net, saved)
    for prefix, learner in trainer.learners.items():
        restore_optimizers(learner.optimizers, learner.net, state.tensors[f"{prefix}optimizer"])
    try:
        trainer.step, trainer.seconds = int(state.values["step"]), float(state.values["seconds"])
        trainer.loader.load_state_dict(state.values["data"])
        trainer.guard.load_state_dict(state.values.get("guard", {}))
        trainer.loader.skipped.load_state_dict(state.values.get("skipped", {}))
        trainer.task.detectors.load_state_dict(state.values.get("looks", {}))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"{where / 'state.json'} is damaged: {error!r}") from None


def _check_held_out(trainer: Resumable, state: State, where: Path) -> None:
    """What a smaller share holds out a larger one does too. The oldest states do not say."""
    before, now = state.values.get("held_out"), trainer.held_out
    if isinstance(before, int | float) and now > before:
        was = f"{before:g}" if before else "not set"
        raise TrainingError(
            f"{where} was trained on pictures that would be held out now: validation.share was "
            f"{was} and is {now:g}. Set it back, name other pictures in validation.data, or "
            "train anew in another folder (--out)"
        )


def _misfit(saved: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """The first tensor that differs in name or shape, in words; empty where none does."""
    for name in dict.fromkeys([*wanted, *saved]):
        if name not in saved or name not in wanted:
            return f"'{name}' is not in {'the state' if name in wanted else 'the network'}"
        if saved[name].shape != wanted[name].shape:
            was, now = tuple(saved[name].shape), tuple(wanted[name].shape)
            return f"'{name}' has the shape {was}, and the network's is {now}"
    return ""
