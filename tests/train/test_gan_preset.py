"""The preset `gan` as a newcomer runs it: in one step it draws the colour and shape asked for."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import unclip
from unclip.cli import main
from unclip.data.shapes import COLOURS, SHAPES, recognised
from unclip.diffusion.few_steps import AdversarialObjective
from unclip.media import to_tensor
from unclip.media.measures import pixel_deviation
from unclip.train.recipe import load_recipe


def test_its_one_call_begins_at_pure_noise_without_a_teacher() -> None:
    config = load_recipe("gan").stage("decoder").config
    objective = config.objective  # type: ignore[attr-defined]
    assert isinstance(objective, AdversarialObjective)
    assert objective.teacher is None and objective.noise_share == 1.0
    assert objective.clip_weight == objective.embed_weight == 0.5 and objective.penalty > 0
    assert config.sampling.steps == 1  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_most_pictures_show_what_was_asked(tmp_path: Path) -> None:
    folder = tmp_path / "gan"
    assert main(["train", "gan", "--out", str(folder), "--device", "cpu"]) == 0
    page = (folder / "report.html").read_text("utf-8")
    assert re.search("Generator and critic", page) and re.search("CLIP&#39;s feedback", page)
    pipe, right, spread = unclip.load(folder / "model", device="cpu"), [], []
    for colour in COLOURS:
        for shape in SHAPES:
            pictures = pipe.generate(f"a {colour} {shape}", n=8, seed=0)
            seen = [recognised(np.asarray(one))[:2] for one in pictures]
            right += [one == (colour, shape) for one in seen]
            spread.append(pixel_deviation(to_tensor(pictures)))
    assert np.mean(right) >= 0.9 and np.mean(spread) >= 0.12
