"""Model folders of the package's own format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

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


@pytest.fixture(scope="session")
def model(
    make_stage: Callable[..., Stage],
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """What LoRA files and embeddings are added to; float32.

    CLIP's text encoder knows 320 tokens, the decoder's 330.
    """
    folder = tmp_path_factory.mktemp("models") / "small"
    decoder = make_stage("decoder").config.network.dump()  # type: ignore[attr-defined]
    decoder["text"]["vocab_size"] = 330
    stages = {name: make_stage(name) for name in ("clip", "prior")}
    stages["decoder"] = make_stage("decoder", network=decoder)
    save_model(folder, "small", tokenizer, stages, dtype=torch.float32)
    return folder
