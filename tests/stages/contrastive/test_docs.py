"""docs/clip.md: every loss is there, and its tables are parsed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from unclip.stages.contrastive import LOSSES
from unclip.stages.contrastive.objective import ContrastiveObjective
from unclip.train.config import TrainConfig

PAGE = (Path(__file__).parents[3] / "docs" / "clip.md").read_text(encoding="utf-8")


def test_every_loss_is_on_the_page() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert rows == set(LOSSES.names())


def test_its_tables_are_settings() -> None:
    tables = [tomllib.loads(one) for one in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)]
    assert len(tables) == 3
    for table in tables:
        stage = table["stages"]["clip"]
        ContrastiveObjective.parse(stage.get("objective", {}))
        TrainConfig.parse(stage.get("train", {}))
