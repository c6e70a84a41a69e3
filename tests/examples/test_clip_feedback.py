"""examples/clip_feedback.py: what CLIP chooses, CLIP likes more; and where that ends."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "clip_feedback.py"
SAID = re.compile(r"^(.*): (-?[\d.]+) (?:the detector sees: (.*))?$", re.M)
Round = tuple[str, float, str]
Run = Callable[..., tuple[list[list[Round]], Image.Image]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs it: its three rows of rounds, and its sheet."""

    def started(rounds: int, *arguments: str) -> tuple[list[list[Round]], Image.Image]:
        out = tmp_path / "it.png"
        options = ["--rounds", str(rounds), "--out", str(out), *arguments]
        monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *options])
        runpy.run_path(str(EXAMPLE), run_name="__main__")
        found = SAID.findall(capsys.readouterr().out)
        said = [(name, float(fit), seen) for name, fit, seen in found]
        rows = [said[row * rounds : (row + 1) * rounds] for row in range(3)]
        with Image.open(out) as sheet:
            return rows, sheet.convert("RGB")

    return started


def test_any_model_draws_and_what_is_kept_fits_no_worse(run: Run, tiny_model: Path) -> None:
    (best, redrawn, guided), sheet = run(3, "a fox", "--model", str(tiny_model), "--each", "3")
    for row in (best, redrawn):
        fits = [fit for _, fit, _ in row]
        assert fits == sorted(fits) and fits[-1] > fits[0]
    assert best[0][1] == redrawn[0][1]  # one first picture
    assert [name for name, _, _ in guided] == ["guidance 50", "guidance 300", "guidance 1800"]
    assert sheet.width == 3 * 16 + 2 * 4
    first = [np.asarray(sheet)[row : row + 16, :16] for row in (0, (sheet.height + 4) // 3)]
    assert (first[0] == first[1]).all()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_bundled_models_owl(run: Run) -> None:
    (best, _, guided), _ = run(4)
    assert all(seen == "owl, tree" for _, _, seen in best)
    assert best[-1][1] >= best[0][1]
    fits = {name: fit for name, fit, _ in guided}
    assert fits["guidance 1800"] > best[0][1] + 0.01
