"""Killed at any moment, saves included: there is always a whole state, and the run is the same."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from unclip.train.state import load_state, saved_states

SCRIPT = Path(__file__).parent / "killed.py"
SHORT = {"batch_size": 2, "checkpoint_minutes": 1e-9, "log_every": 1, "workers": 0}

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads /proc")

Life = dict[str, Any]


class Lives:
    """Runs of one recipe: what they print, and what is left of them."""

    def __init__(self, folder: Path, stage: str, settings: list[str], **train: Any) -> None:
        self.folder, self.stage = folder, stage
        train = {**SHORT, **train}
        self.settings = [*settings, *(f"stages.{stage}.train.{k}={v}" for k, v in train.items())]

    def lead(self, name: str, kills: list[list[Any]]) -> list[Life]:
        plan = self.folder / f"{name}.json"
        values = {"folder": str(self.folder / name), "stage": self.stage, "kills": kills}
        values["given"] = ["clip"] if ADVERSARIAL in self.settings else []
        plan.write_text(json.dumps({**values, "settings": self.settings}))
        command = [sys.executable, str(SCRIPT), str(plan)]
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

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        """Networks, average and optimizers of the last state."""
        state = load_state(saved_states(self.folder / name / self.stage / "states")[-1])
        held = state.tensors.items()
        return {f"{group}/{key}": value for group, all_ in held for key, value in all_.items()}

    def check(self, kills: list[list[Any]], steps: int) -> list[Life]:
        """Killed so and then let live, the run is the one that nobody disturbed."""
        (whole,) = self.lead("whole", [["never"]])
        assert whole["newest"] == steps
        lives = self.lead("cut", [*kills, ["never"]])
        assert lives[-1]["newest"] == steps
        steps_saved = [life["newest"] for life in lives]
        assert steps_saved == sorted(steps_saved), "a state is never lost"
        assert not [fault for life in lives for fault in life["faults"]]
        assert self.losses("cut") == self.losses("whole")
        assert all(len(losses) == 1 for losses in self.losses("cut").values())
        one, other = self.weights("whole"), self.weights("cut")
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
        return lives


@pytest.mark.timeout(600)
def test_killed_while_saving_it_is_the_same_run(tmp_path: Path) -> None:
    """Event 25 is in the first save, and 140 in the third, which removes the first."""
    lives = Lives(tmp_path, "upsampler", [], steps=4).check([["event", 25], ["event", 140]], 4)
    assert [life["newest"] for life in lives] == [0, 2, 4]


ADVERSARIAL = 'stages.upsampler.objective={kind="adversarial",critic="patches"}'


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_at_every_single_point_of_two_saves(tmp_path: Path) -> None:
    """Where a state is written and one removed: each open, write to disk, rename and removal."""
    settings = ["stages.upsampler.train.keep_states=1"]
    lives = Lives(tmp_path, "upsampler", settings, steps=80)
    lives.check([["event", number] for number in range(1, 71)], steps=80)


def folder_of_pictures(folder: Path) -> list[str]:
    """Nine of them, which make two epochs of a few steps."""
    (folder / "pictures").mkdir()
    for number in range(9):
        Image.new("RGB", (40, 40), (number * 20, 9, 99)).save(folder / f"pictures/{number}.png")
        (folder / f"pictures/{number}.txt").write_text(f"shade {number}\ncolour {number}\n")
    return [f'data={{source="folder",path="{folder / "pictures"}"}}']


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("case", ["shapes", "folder", "workers", "muon", "critic"])
def test_at_a_hundred_random_moments(case: str, tmp_path: Path) -> None:
    """Twenty of each case: any time in a life, starting and saving included."""
    settings = folder_of_pictures(tmp_path) if case == "folder" else []
    settings += [ADVERSARIAL] if case == "critic" else []
    more: dict[str, Any] = {"workers": 2} if case == "workers" else {}
    more |= {"optimizer": "muon"} if case == "muon" else {}
    lives, rng = Lives(tmp_path, "upsampler", settings, steps=40, **more), random.Random(case)
    (life,) = lives.lead("measured", [["never"]])
    kills = [["seconds", rng.uniform(0.05, life["seconds"])] for _ in range(10)]
    kills += [["event", rng.randint(1, life["events"] // 4)] for _ in range(10)]
    rng.shuffle(kills)
    lives.check(kills, steps=40)
