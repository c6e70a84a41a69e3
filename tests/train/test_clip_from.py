"""A CLIP that goes on from another one, with one side frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from unclip.checkpoints.native import load_stage
from unclip.config import read_toml
from unclip.loading import PRESETS
from unclip.train.recipe import Recipe, load_recipe
from unclip.train.run import Run


def test_it_begins_with_the_others_weights_and_its_frozen_side_stays(tmp_path: Path) -> None:
    """Losses that are named take the place of the model's."""
    first = Run(
        load_recipe("tiny", ["stages.clip.objective.siglip.weight=0.5"]), tmp_path / "a", _CPU
    )
    first.begin(resume=False)
    first.export("clip", first.build("clip"))
    first.end()
    values: dict[str, Any] = read_toml(PRESETS / "tiny.toml")
    train = {"freeze": ["vision"], "workers": 0, "batch_size": 8, "steps": 3}
    clip = {"from": str(first.model), "objective": {"mlm": {"weight": 0.1}}, "train": train}
    recipe = Recipe.parse({**values, "stages": {"clip": clip}})
    assert set(recipe.stage("clip").config.objective.losses) == {"infonce", "mlm"}  # type: ignore[attr-defined]
    second = Run(recipe, tmp_path / "b", _CPU)
    second.check()
    trainer = second.trainer("clip")
    before = {name: one.clone() for name, one in trainer.net.state_dict().items()}
    theirs = load_stage(first.model, "clip").net.state_dict()
    assert all(torch.equal(one, before[name]) for name, one in theirs.items())
    for _ in range(2):
        trainer.advance()
    for name, one in trainer.net.state_dict().items():
        assert torch.equal(one, before[name]) == name.startswith("vision."), name


_CPU = torch.device("cpu")
