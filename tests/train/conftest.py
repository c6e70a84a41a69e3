"""A synthetic data source, a trainer of a tiny stage on it, and a watcher that writes down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unclip.config import Config
from unclip.data import IndexedSource, Sample
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage
from unclip.stages.comparing import ComparingStage
from unclip.train.clock import Clock
from unclip.train.config import TrainConfig
from unclip.train.contrastive import ContrastiveTask
from unclip.train.loader import Loader
from unclip.train.task import Task
from unclip.train.trainer import Trainer

WORDS = ("a red car", "the fox", "two blue apples", "a dog under the moon")


class Speckles(IndexedSource):
    """Pictures of noise. The first pixel is the position, so that a batch tells what it holds."""

    Config = Config

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def sample(self, position: int) -> Sample:
        rng = np.random.default_rng(position)
        image = rng.integers(0, 256, (*self.size, 3), dtype=np.uint8)
        image[0, 0] = position % 256
        return {"image": image, "caption": WORDS[position % len(WORDS)]}

    def captions(self, count: int) -> Iterator[str]:
        return (WORDS[position % len(WORDS)] for position in range(count))


class Notes:
    """A watcher that writes down what it is told."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.saves: list[int] = []
        self.previews: list[tuple[int, Stage]] = []
        self.notes: list[str] = []
        self.validated_at: list[tuple[int, dict[str, float]]] = []

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self.logged.append((step, values))

    def validated(self, step: int, values: dict[str, float]) -> None:
        self.validated_at.append((step, values))

    def saving(self, step: int) -> None:
        self.saves.append(step)

    def note(self, line: str) -> None:
        self.notes.append(line)

    def preview(self, step: int, stage: Stage) -> None:
        self.previews.append((step, stage))


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture(scope="session")
def speckles() -> type[Speckles]:
    """The class, as test modules cannot import this file."""
    return Speckles


@pytest.fixture
def make_trainer(
    make_stage: Callable[..., Stage], tokenizer: Tokenizer, tmp_path: Path
) -> Callable[..., Trainer]:
    """`make_trainer(kind, folder, network={...}, clock=..., **train settings)`: apart by folder."""

    def make(
        kind: str = "prior",
        folder: str = "states",
        network: Any = None,
        clock: Clock | None = None,
        **settings: Any,
    ) -> Trainer:
        stage = make_stage(kind)
        if network:
            merged = {**stage.config.network.dump(), **network}  # type: ignore[attr-defined]
            stage = make_stage(kind, network=merged)
        clip = make_stage("clip") if kind in ("prior", "ar_prior", "decoder") else None
        of = ContrastiveTask if isinstance(stage, ComparingStage) else Task
        task = of(stage, clip)
        defaults = {"steps": 6, "batch_size": 4, "warmup": 1, "workers": 0, "precision": "float32"}
        config = TrainConfig.parse({**defaults, **settings})
        collate = task.collate(tokenizer)
        loader = Loader(Speckles(task.source_size), collate, config.batch_at(0), config.workers)
        return Trainer(task, loader, config, tmp_path / folder, clock=clock)

    return make
