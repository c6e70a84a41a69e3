"""Files of settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from unclip.checkpoints.settings import need
from unclip.errors import CheckpointError


def test_a_setting_that_is_not_read_is_named() -> None:
    need({"act": "silu", "more": 3}, Path("config.json"), act=("silu", "gelu"), absent=1)
    with pytest.raises(
        CheckpointError, match=r"config\.json: act is 'relu'; only 'silu' or 'gelu'"
    ):
        need({"act": "relu"}, Path("config.json"), act=("silu", "gelu"))
