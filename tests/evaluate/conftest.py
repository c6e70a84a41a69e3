"""What tests of whole evaluations share: a corpus, a wee model and untrained extractors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from unclip.emoji import extractors
from unclip.emoji.corpus import build
from unclip.facade import Pipeline
from unclip.loading import load
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage

ASSETS = Path(__file__).parents[1] / "fixtures" / "assets"
STAGES = ("clip", "prior", "decoder", "upsampler")
TEXT = {"width": 12, "depth": 1, "heads": 2, "vocab_size": 320, "context": 8}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus"
    build(path, ASSETS, "everyday", styles=("noto",))
    return path


@pytest.fixture(scope="module")
def pipe(
    tmp_path_factory: pytest.TempPathFactory,
    make_stage: Callable[[str], Stage],
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
) -> Pipeline:
    path = tmp_path_factory.mktemp("run") / "model"
    save_model(path, "wee", tokenizer, {name: make_stage(name) for name in STAGES})
    return load(path, "cpu", dtype=torch.float32)


@pytest.fixture
def wee_features(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """Untrained feature extractors of six numbers."""
    small: dict[str, Any] = {"size": 16, "channels": (8,), "dims": 6}
    folder = tmp_path / "features"
    one = extractors.build(extractors.ExtractorConfig(kind="classifier", nouns=("a", "b"), **small))
    two = extractors.build(
        extractors.ExtractorConfig.parse({"kind": "clip", "text": TEXT, **small})
    )
    extractors.save(folder / "classifier", one)
    extractors.save(folder / "clip", two, tokenizer)
    return folder
