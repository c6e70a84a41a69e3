"""Stages that were saved before networks had kinds and foreign models a room are still read.

fixtures/saved_stages.json.gz holds what that version wrote: each kind's config.json, as small as
the tests' own, and the names and shapes of its weights; foreign variants of the U-Net besides.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from unclip.families.adm.guided_unet import GuidedUNetConfig
from unclip.stages import STAGES, on_meta

FILE = Path(__file__).parents[1] / "fixtures" / "saved_stages.json.gz"
OLDER = GuidedUNetConfig.once_usual
SAVED: dict[str, dict[str, Any]] = json.loads(gzip.decompress(FILE.read_bytes()))


def lost(before: dict[str, Any], now: dict[str, Any], path: str = "") -> list[str]:
    """Settings that no longer say what they said."""
    found = []
    for key, value in before.items():
        if isinstance(value, dict) and isinstance(now.get(key), dict):
            found += lost(value, now[key], f"{path}{key}.")
        elif now.get(key, OLDER.get(key, "gone")) != value:
            found.append(f"{path}{key}")
    return found


@pytest.mark.parametrize("name", SAVED)
def test_what_was_saved_is_read(name: str) -> None:
    saved = SAVED[name]
    kind = STAGES[saved["config"]["kind"]]
    config = kind.Config.parse(saved["config"])
    assert lost(saved["config"], config.dump()) == []
    shapes = {key: list(value.shape) for key, value in on_meta(config).net.state_dict().items()}
    assert shapes == saved["shapes"]
    assert list(shapes) == list(saved["shapes"]), "optimizers know parameters by their order"
    assert kind.Config.parse(config.dump()) == config
