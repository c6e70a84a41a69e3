"""A model folder of the package's own format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage


@pytest.fixture(scope="module")
def folder(
    make_stage: Callable[..., Stage],
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    stages = {name: make_stage(name) for name in ("clip", "prior", "decoder")}
    path = tmp_path_factory.mktemp("models") / "tiny"
    save_model(path, "tiny", tokenizer, stages)
    return path
