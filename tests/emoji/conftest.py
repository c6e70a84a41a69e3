"""A small corpus of real drawings, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from unclip.emoji.corpus import Corpus, build
from unclip.emoji.source import EmojiScenes

ASSETS = Path(__file__).parents[1] / "fixtures" / "assets"


@pytest.fixture(scope="session")
def corpus_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "corpus"
    build(path, ASSETS, "all")
    return path


@pytest.fixture(scope="session")
def corpus(corpus_path: Path) -> Corpus:
    return Corpus.open(corpus_path)


@pytest.fixture(scope="session")
def scenes(corpus_path: Path) -> EmojiScenes:
    config = EmojiScenes.Config(path=corpus_path, styles=("noto",), seed=5)
    return EmojiScenes(config, (64, 64))
