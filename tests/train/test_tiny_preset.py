"""The preset `tiny` as a newcomer runs it: trained whole, it draws what is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import unclip
from unclip.cli import main


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("colour", "channel"), [("red", 0), ("green", 1), ("blue", 2)])
def test_colours_come_out(colour: str, channel: int, run: Path) -> None:
    pipe = unclip.load(run / "model", device="cpu")
    for picture in pipe.generate(f"a {colour} square", n=4, seed=7):
        pixels = np.asarray(picture, dtype=float)
        ink = pixels[pixels.min(-1) < 128]  # what is not the white ground
        assert ink.mean(0).argmax() == channel


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["train", "tiny", "--out", str(folder), "--device", "cpu"]) == 0
    return folder
