"""The two judges, made for a corpus: one that has learnt, one that compares."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.emoji import EmojiConfig, EmojiScenes
from ..errors import CheckpointError
from ..loading import weights
from ._detector import Detector
from ._detector_training import DetectorConfig, OnStep, train_detector
from ._matcher import Matcher
from .seen import Judge, Pictures, Seen


def matcher_of(config: EmojiConfig) -> Matcher:
    """The classical judge of a corpus' nouns, in the first of the styles in use.

    Raises:
        DataError: the corpus is missing or damaged.
        UsageError: it lacks a noun or a style.
    """
    source = EmojiScenes(config.model_copy(update={"split": "any"}), 64)
    return Matcher(source.corpus, source.planner.styles[0])


def bundled_detector() -> Detector:
    """The learnt judge that comes with the package; the card beside its weights is about it."""
    return Detector.load(weights() / "scene-judge")


def detector_of(
    config: EmojiConfig,
    folder: Path,
    training: DetectorConfig | None = None,
    *,
    device: torch.device | None = None,
    on_step: OnStep | None = None,
) -> Detector:
    """The learnt judge that lies in a folder, or else a new one, trained and put there.

    A training that was interrupted goes on: it leaves `<folder>.state`.

    Raises:
        CheckpointError: the folder's detector is damaged or knows other nouns.
        DataError: the corpus is missing or damaged.
    """
    if folder.exists():
        found = Detector.load(folder)
        corpus = EmojiScenes(config.model_copy(update={"split": "any"}), 64).corpus
        missing = {glyph["noun"] for glyph in corpus.glyphs} - set(found.nouns)
        if missing:
            raise CheckpointError(
                f"the detector in {folder} does not know {len(missing)} of the corpus' nouns "
                f"('{min(missing)}'); remove the folder to train one that does"
            )
        return found
    state = folder.with_name(f"{folder.name}.state")
    found = train_detector(config, training, device=device, state=state, on_step=on_step)
    found.save(folder)
    return found


class Shared:
    """A judge in several processes, each of which looks at one picture at a time.

    It says what the judge says: only for judges to whom each picture is a thing of its own. Close
    it at the end.
    """

    def __init__(self, judge: Judge, workers: int) -> None:
        self.name, self.hash, self.nouns = judge.name, judge.hash, judge.nouns
        self._pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (judge,))

    def look(self, pictures: Pictures) -> list[Seen]:
        """What each of the pictures (B, H, W, 3) shows, in their order."""
        return list(self._pool.map(_look, pictures))

    def close(self) -> None:
        """End the processes, without waiting for what nobody asks for any more."""
        self._pool.shutdown(cancel_futures=True)


_own: Judge | None = None  # in a process of `Shared`


def _begin(judge: Judge) -> None:
    global _own
    _own = judge
    torch.set_num_threads(1)


def _look(picture: NDArray[np.uint8]) -> Seen:
    assert _own is not None
    return _own.look(picture[None])[0]
