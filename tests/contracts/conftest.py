"""What examples of commands draw with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage


@pytest.fixture(scope="session")
def model(
    tmp_path_factory: pytest.TempPathFactory,
    make_stage: Callable[[str], Stage],
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
) -> str:
    """A model folder whose pictures are 16 x 16 noise."""
    path = tmp_path_factory.mktemp("contracts") / "tiny"
    stages = {name: make_stage(name) for name in ("clip", "prior", "decoder", "upsampler")}
    save_model(path, "tiny", tokenizer, stages)
    return str(path)
