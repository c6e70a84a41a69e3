"""examples/dalle2_pytorch.py: it trains, saves, loads and draws."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "dalle2_pytorch.py"
ROWS = {"red": (0, 3), "blue": (1,), "green": (2,)}


def run(monkeypatch: pytest.MonkeyPatch, out: Path, *arguments: str) -> Image.Image:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "--out", str(out), *arguments])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    with Image.open(out) as picture:
        picture.load()
        return picture


@pytest.mark.slow  # tests/compat/test_dalle2_pytorch.py has the same script, smaller
def test_in_two_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    few = "--steps", "2", "--pictures", "1"
    assert run(monkeypatch, tmp_path / "it.png", *few).size == (96, 384)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_each_row_has_its_colour(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    picture = run(monkeypatch, tmp_path / "it.png")
    pixels = np.asarray(picture, dtype=float).reshape(4, 96, 4, 96, 3)[:, 24:72, :, 24:72]
    middle = pixels.mean((1, 3))  # (row, column, channel)
    for colour, rows in ROWS.items():
        channel = ["red", "green", "blue"].index(colour)
        for row in rows:
            right = (middle[row].argmax(-1) == channel).sum()
            assert right >= 3, f"{right} of 4 pictures of row {row} are {colour}"
