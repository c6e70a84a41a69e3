"""What the saved states of a run's stages say."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import TrainingError
from .state import load_values, saved_states, step_of


class Saved:
    """How far the stages in a run's folder are, and what they took; weights are never read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def states(self, name: str) -> list[Path]:
        """Those of a stage, oldest first."""
        return saved_states(self.folder / name / "states")

    def steps_done(self, name: str) -> int:
        """Steps in the newest saved state of a stage, 0 where there is none."""
        states = self.states(name)
        return step_of(states[-1]) if states else 0

    def begun(self, name: str) -> bool:
        """Whether there is a saved state of a stage to go on with."""
        return self.steps_done(name) > 0

    def facts(self, name: str) -> dict[str, Any]:
        """What a stage's newest state says beside its training; empty before the first.

        `base` names what the stage was begun from, `allowance` are the seconds that a budget gave
        it, `built` those that passed before its steps.
        """
        for state in reversed(self.states(name)):
            with suppress(TrainingError):  # it is damaged, and the one before it is taken
                facts = load_values(state).get("facts", {})
                return facts if isinstance(facts, dict) else {}
        return {}

    def allowed(self, name: str) -> float | None:
        """Seconds that the budget gave a stage that has begun, where its state says so."""
        given = self.facts(name).get("allowance")
        return None if given is None else float(given)

    def seconds(self, name: str, steps: int) -> float:
        """Seconds that a stage that has begun took or, before so many steps, will take at its pace.

        Raises:
            TrainingError: its newest state is damaged.
        """
        state = self.states(name)[-1]
        try:
            seconds, done = float(load_values(state)["seconds"]), step_of(state)
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"{state / 'state.json'} is damaged: {error!r}") from None
        if done >= steps:
            return seconds
        if given := self.allowed(name):
            return max(seconds, given)
        built = float(self.facts(name).get("built", 0.0))  # once, however many steps come
        return built + (seconds - built) / done * steps
