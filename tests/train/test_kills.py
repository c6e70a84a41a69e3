"""Killed at any moment, saves included: there is always a whole state, and the run is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from .lives import Lives

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads /proc")

ADVERSARIAL = 'stages.upsampler.objective={kind="adversarial",critic="patches",largest_gap=99}'


@pytest.mark.timeout(600)
def test_killed_while_saving_it_is_the_same_run(tmp_path: Path) -> None:
    """Event 25 is in the first save, and 140 in the third, which removes the first."""
    lives = Lives(tmp_path, "upsampler", steps=4).check([["event", 25], ["event", 140]], 4)
    assert [life["newest"] for life in lives] == [0, 2, 4]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_at_every_single_point_of_two_saves(tmp_path: Path) -> None:
    """Where a state is written and one removed: each open, write to disk, rename and removal."""
    lives = Lives(tmp_path, "upsampler", steps=80, keep_states=1)
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
    given = ["clip"] if case == "critic" else []
    Lives(tmp_path, "upsampler", settings, given, steps=40, **more).at_random(10, 40, case)
