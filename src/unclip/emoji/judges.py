"""The two judges of a corpus: a detector, which is trained, and a matcher, which compares."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import CheckpointError, UsageError
from ..loading import weights
from .detector import Detector
from .judge import Detections, Judge, Pictures
from .matcher import Matcher
from .source import EmojiConfig, EmojiScenes


@dataclass
class Panel:
    """The judges of one evaluation, and the corpus that they were chosen for."""

    config: EmojiConfig
    judges: tuple[Judge, ...] = ()


def choose(config: EmojiConfig, named: Path | None, usual: Path) -> tuple[tuple[Judge, ...], str]:
    """The judges for a corpus' nouns, and why none of them is a trained one, empty where one is.

    The detector is the one in the folder that a person `named`, or the `usual` one, or else the
    bundled one.

    Raises:
        UsageError: there is no folder `named`.
        CheckpointError: the detector in a folder is damaged or knows other nouns.
    """
    if named is not None and not named.is_dir():
        raise UsageError(f"no folder {named} with a trained judge (--detector)")
    matcher = matcher_of(config)
    folder = named or usual
    if folder.is_dir():
        return (detector_of(config, folder), matcher), ""
    bundled = bundled_detector()
    if unknown := set(matcher.nouns) - set(bundled.nouns):
        why = f"none in {folder} (--detector DIR), and the bundled one has never seen "
        return (matcher,), f"{why}'{min(unknown)}'; the matcher judges alone"
    return (bundled, matcher), ""


def matcher_of(config: EmojiConfig) -> Matcher:
    """The matcher of a corpus' nouns, in the first of the styles in use.

    Raises:
        DataError: the corpus is missing or damaged.
        UsageError: it lacks a noun or a style.
    """
    source = EmojiScenes(config.model_copy(update={"split": "any"}), (64, 64))
    return Matcher(source.corpus, source.planner.styles[0])


def bundled_detector() -> Detector:
    """The detector that comes with the package; the card beside its weights is about it."""
    return Detector.load(weights() / "scene-judge")


def detector_of(config: EmojiConfig, folder: Path) -> Detector:
    """The detector that lies in a folder.

    Raises:
        CheckpointError: it is damaged or does not know all nouns of the corpus.
        DataError: the corpus is missing or damaged.
    """
    found = Detector.load(folder)
    corpus = EmojiScenes(config.model_copy(update={"split": "any"}), (64, 64)).corpus
    missing = set(corpus.nouns) - set(found.nouns)
    if missing:
        raise CheckpointError(
            f"the detector in {folder} does not know {len(missing)} of the corpus' nouns "
            f"('{min(missing)}'); remove the folder, or train one that does with "
            "`python scripts/features.py --only detector`"
        )
    return found


class Shared:
    """A judge in several processes, each of which looks at one picture at a time.

    It says what the judge says: only for judges to whom each picture is a thing of its own. Close
    it at the end.
    """

    def __init__(self, judge: Judge, workers: int) -> None:
        self.name, self.hash, self.nouns = judge.name, judge.hash, judge.nouns
        self._pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (judge,))

    def look(self, pictures: Pictures) -> list[Detections]:
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


def _look(picture: NDArray[np.uint8]) -> Detections:
    assert _own is not None
    return _own.look(picture[None])[0]
