"""Parts that stay as they are, while the others learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from unclip.errors import UsageError
from unclip.train.frozen import freeze
from unclip.train.trainer import Trainer


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(
    ("kind", "names"),
    [("clip", ["vision"]), ("clip", ["text", "text_proj", "log_scale"]), ("decoder", ["text"])],
)
def test_what_is_frozen_stays_and_the_rest_learns(
    kind: str, names: list[str], optimizer: str, make_trainer: Callable[..., Trainer], notes: Any
) -> None:
    """Weight decay and the average included."""
    settings = {"freeze": names, "optimizer": optimizer, "weight_decay": 0.5, "warmup": 0}
    trainer = make_trainer(kind, **settings)
    before = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    trainer.run(notes)
    for net in (trainer.net, trainer.ema.average):
        stays = {n for n, v in net.state_dict().items() if torch.equal(v, before[n])}
        assert stays == {n for n in before if any(f"{n}.".startswith(f"{one}.") for one in names)}
    again = make_trainer(kind, **settings)
    assert again.resume()
    assert again.step == trainer.step


def test_a_part_that_is_not_there_is_named(make_stage: Callable[..., Any]) -> None:
    net = make_stage("clip").net
    fault = r"^setting 'stages\.x\.train\.freeze': .* no 'visoin' \(did you mean 'vision'\?\)"
    with pytest.raises(UsageError, match=fault):
        freeze(net, ["visoin"], "stages.x")
    with pytest.raises(UsageError, match=r"'stages.x.train.freeze' leaves nothing to learn"):
        freeze(net, ["vision", "text", "text_proj", "log_scale"], "stages.x")
