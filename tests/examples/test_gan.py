"""The script that fills in the articles' GAN: it runs, and it draws what it is asked for."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "examples" / "gan.py"
SAID = re.compile(r"right colour (\d+)%, shape (\d+)%, both (\d+)%\ndeviation over seeds ([\d.]+)")


def run(folder: Path, *options: str) -> tuple[list[float], Image.Image]:
    """What it says, and its sheet."""
    command = [sys.executable, str(SCRIPT), "--out", str(folder / "gan.webp"), *options]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = SAID.search(said)
    assert found, said
    return [float(one) for one in found.groups()], Image.open(folder / "gan.webp").convert("RGB")


def test_a_few_steps_make_curves_and_pictures(tmp_path: Path) -> None:
    (*shares, _), sheet = run(tmp_path, "--steps", "3", "--clip-steps", "3")
    assert all(0 <= share <= 100 for share in shares)
    colours = np.asarray(sheet).reshape(-1, 3)
    for line in ((47, 109, 181), (196, 87, 43), (61, 139, 79)):  # of the three curves
        assert (np.abs(colours - np.array(line)).max(1) < 40).sum() > 100


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_most_pictures_show_what_was_asked(tmp_path: Path) -> None:
    """And its seeds differ, if less than after all of its steps (docs/gan.md)."""
    (colour, shape, both, deviation), _ = run(tmp_path, "--steps", "300")
    assert colour >= 90 and shape >= 65 and both >= 65 and deviation >= 0.14
