"""The two judges, made for a corpus: one that has learnt, one that compares."""

from __future__ import annotations

from pathlib import Path

import torch

from ..data.emoji import EmojiConfig, EmojiScenes
from ..errors import CheckpointError
from ._detector import Detector
from ._matcher import Matcher
from ._training import DetectorConfig, OnStep, train_detector
from .seen import UNKNOWN, Judge, Seen, Thing

__all__ = [
    "UNKNOWN",
    "Detector",
    "DetectorConfig",
    "Judge",
    "Matcher",
    "Seen",
    "Thing",
    "detector_of",
    "matcher_of",
    "train_detector",
]


def matcher_of(config: EmojiConfig) -> Matcher:
    """The classical judge of a corpus' nouns, in the first of the styles in use.

    Raises:
        DataError: the corpus is missing or damaged.
        UsageError: it lacks a noun or a style.
    """
    source = EmojiScenes(config.model_copy(update={"split": "any"}), 64)
    return Matcher(source.corpus, source.planner.styles[0])


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
