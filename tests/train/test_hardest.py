"""The pictures with the highest loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unclip.data import Item
from unclip.errors import UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage
from unclip.stages.model import Model
from unclip.train.hardest import losses_of


@pytest.fixture
def untrained(make_stage: Callable[[str], Stage], tokenizer: Tokenizer) -> Model:
    """Whose decoder says that x0 is 0, grey: its error is the picture's contrast."""
    stages = {"clip": make_stage("clip")}
    stages["decoder"] = make_stage("decoder", parameterization={"kind": "x0"})
    for parameter in stages["decoder"].net.parameters():
        torch.nn.init.zeros_(parameter)
    return Model(tokenizer, stages)


def items(folder: Path) -> list[Item]:
    """From grey to ever more contrast, and one that cannot be read in their midst."""
    made = []
    for number, contrast in enumerate((0, 60, 120)):
        pixels = np.full((24, 24, 3), 128, np.uint8)
        pixels[:, ::2] += np.uint8(contrast)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        made.append(Item(f"{number}.png", folder / f"{number}.png", (f"number {number}",)))
    (folder / "bad.png").write_bytes(b"nothing")
    return [*made[:1], Item("bad.png", folder / "bad.png", ("bad",)), *made[1:]]


def test_what_is_further_from_a_guess_has_the_higher_loss(untrained: Model, tmp_path: Path) -> None:
    found = list(losses_of(untrained, items(tmp_path)))
    assert [one.name for one in found] == ["0.png", "1.png", "2.png"]
    losses = [one.loss for one in found]
    assert losses == sorted(losses) and losses[0] < losses[-1]


def test_a_picture_has_the_same_loss_in_any_batch(untrained: Model, tmp_path: Path) -> None:
    listed = items(tmp_path)
    together = {one.name: one.loss for one in losses_of(untrained, listed)}
    for item in listed:
        for one in losses_of(untrained, [item]):
            assert one.loss == pytest.approx(together[item.name], rel=1e-5)


def test_a_model_without_a_decoder_is_refused(
    make_stage: Callable[[str], Stage], tokenizer: Tokenizer
) -> None:
    with pytest.raises(UsageError, match="has no decoder"):
        list(losses_of(Model(tokenizer, {"clip": make_stage("clip")}, "half"), []))
