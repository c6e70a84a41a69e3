"""Trainings that are stopped or killed, beside the same ones that nobody disturbed.

What a case is given: a stage of `tiny`, and settings. What it has to keep: of every step there is
one loss, the last state is the same in every bit, and there is always a state to go on from.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from unclip.train.state import load_state, saved_states

from .killed import train

SCRIPT = Path(__file__).parent / "killed.py"
SHORT = {"batch_size": 2, "log_every": 1, "workers": 0, "warmup": 1}
SMALL = ["tokenizer.captions=50", "loggers=[]", "stages.upsampler.crop=8"]
OFTEN = {"checkpoint_minutes": 1e-9}

Life = dict[str, Any]


def inline(value: Any) -> str:
    """A value as TOML has it in one line."""
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(key)}={inline(one)}" for key, one in value.items())
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(inline, value))}]"
    return json.dumps(str(value) if isinstance(value, Path) else value)


class Lives:
    """Runs of one recipe: what they print, and what is left of them.

    Args:
        folder: for all of them.
        stage: that is trained.
        settings: of the recipe; with a budget, how many steps there are is for the time to say.
        given: stages that are there, untrained.
        train: settings of the stage's training.
    """

    def __init__(
        self,
        folder: Path,
        stage: str,
        settings: Sequence[str] = (),
        given: Sequence[str] = (),
        **train: Any,
    ) -> None:
        self.folder, self.stage, self.given = folder, stage, list(given)
        self.timed = any(one.startswith("budget=") for one in settings)
        train = {**SHORT, **train}
        every = [*SMALL, *settings]
        self.settings = [
            *every,
            *(f"stages.{stage}.train.{k}={inline(v)}" for k, v in train.items()),
        ]

    def _plan(self, name: str, **more: Any) -> dict[str, Any]:
        where = {"folder": str(self.folder / name), "stage": self.stage, "given": self.given}
        return {**where, "settings": self.settings, **more}

    def lead(self, name: str, kills: list[list[Any]]) -> list[Life]:
        """Lives of a process each, with a state after every step."""
        plan = self._plan(name, kills=kills)
        often = [f"stages.{self.stage}.train.{k}={v}" for k, v in OFTEN.items()]
        plan["settings"] = [*self.settings, *often]
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps(plan))
        command = [sys.executable, str(SCRIPT), str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def losses(self, name: str) -> dict[int, set[str]]:
        """Every bit of the losses that were seen of a step, in any life."""
        seen: dict[int, set[str]] = {}
        for line in (self.folder / f"{name}.losses").read_text().splitlines():
            step, loss = line.split()
            seen.setdefault(int(step), set()).add(loss)
        return seen

    def left(self, name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Networks, average and optimizers of the last state, and the place in the data."""
        state = load_state(saved_states(self.folder / name / self.stage / "states")[-1])
        held = state.tensors.items()
        tensors = {f"{group}/{key}": value for group, all_ in held for key, value in all_.items()}
        return tensors, {key: state.values[key] for key in ("step", "data", "seed")}

    def same(self) -> None:
        """What was cut is what nobody disturbed, as far as both were trained."""
        cut, whole = self.losses("cut"), self.losses("whole")
        both = cut.keys() & whole.keys()
        assert len(both) > 1 and all(cut[step] == whole[step] for step in both)
        assert all(len(losses) == 1 for losses in cut.values())
        assert len(set().union(*cut.values())) > 1
        if self.timed:
            return
        assert cut.keys() == whole.keys()
        (one, place), (other, same_place) = self.left("whole"), self.left("cut")
        assert place == same_place
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)

    def stop(self, at: int) -> None:
        """Stopped with a saved state, and gone on with by another trainer, in this process."""
        train(self._plan("whole"))
        train(self._plan("cut"), until=at)
        assert max(self.losses("cut")) == at
        random.seed(1)  # who goes on finds other numbers there
        torch.manual_seed(1)
        train(self._plan("cut"))
        self.same()

    def check(self, kills: list[list[Any]], steps: int) -> list[Life]:
        """Killed so and then let live, the run is the one that nobody disturbed."""
        return self._cut(self._whole(), kills, steps)

    def at_random(self, count: int, steps: int, seed: str) -> None:
        """Killed so often at any time in a life, and as often in what it does with its states."""
        rng, whole = random.Random(seed), self._whole()
        kills = [["seconds", rng.uniform(0.05, whole["seconds"])] for _ in range(count)]
        kills += [["event", rng.randint(1, max(1, whole["events"] // 4))] for _ in range(count)]
        rng.shuffle(kills)
        self._cut(whole, kills, steps)

    def _whole(self) -> Life:
        (life,) = self.lead("whole", [["never"]])
        return life

    def _cut(self, whole: Life, kills: list[list[Any]], steps: int) -> list[Life]:
        lives = self.lead("cut", [*kills, ["never"]])
        assert self.timed or whole["newest"] == lives[-1]["newest"] == steps
        steps_saved = [life["newest"] for life in lives]
        assert steps_saved == sorted(steps_saved), "a state is never lost"
        assert not [fault for life in lives for fault in life["faults"]]
        self.same()
        return lives
