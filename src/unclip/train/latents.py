"""A decoder of latents and the stage of its recipe that makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, TrainingError, UsageError, nearest
from ..nn.latents import InLatents
from ..stages import Stage, StageConfig
from ..stages.autoencoder import AutoencoderStageConfig
from .state import load_state

KEY = "autoencoder"
"""The key of a decoder's section; in a recipe the name of a stage before it."""


def autoencoder_of(name: str, table: Mapping[str, Any]) -> str | None:
    """The stage whose latents a stage diffuses, if its section names one.

    Raises:
        UsageError: the section gives a new decoder the settings of an autoencoder without weights.
    """
    given = table.get(KEY)
    if isinstance(given, str):
        return given
    if given is not None and "from" not in table and table.get("kind", name) == "decoder":
        raise UsageError(
            f"setting 'stages.{name}.{KEY}' must be the name of a stage of the recipe, an "
            f"autoencoder that is trained before it or taken from a model"
        )
    return None


def with_settings(
    name: str, table: Mapping[str, Any], before: Mapping[str, StageConfig]
) -> Mapping[str, Any]:
    """A section in which the settings of the autoencoder that it names stand in the name's place.

    Raises:
        UsageError: there is no such stage before it, or it is no autoencoder; or the stage is
            taken from a model, which has one.
    """
    chosen = autoencoder_of(name, table)
    if chosen is None:
        return table
    where = f"setting 'stages.{name}.{KEY}'"
    if "from" in table:
        raise UsageError(
            f"{where} is of no use: the model that the stage is taken from has its own"
        )
    able = [n for n, one in before.items() if isinstance(one, AutoencoderStageConfig)]
    if chosen not in able:
        raise UsageError(
            f"{where} must be an autoencoder before it, got '{chosen}'{nearest(chosen, able)}; "
            f"before it: {', '.join(able) or 'none'}"
        )
    config = before[chosen]
    assert isinstance(config, AutoencoderStageConfig)
    return {**table, KEY: config.network.dump()}


def fill(stage: Stage, autoencoder: Stage) -> Stage:
    """A fresh decoder of latents, with the weights of the stage that makes them."""
    assert isinstance(stage.net, InLatents)
    stage.net.autoencoder.load_state_dict(autoencoder.net.state_dict())
    return stage


def keep(stage: Stage, states: Sequence[Path]) -> bool:
    """Give a decoder that has begun the autoencoder that it began with, and no later one.

    Its latents are what the decoder has learnt, and what a cache holds. All of its states have the
    same.

    Args:
        stage: filled with what the recipe's autoencoder is now.
        states: the stage's, oldest first.

    Returns:
        Whether the autoencoder has changed since.
    """
    assert isinstance(stage.net, InLatents)
    mine, prefix = stage.net.autoencoder.state_dict(), f"{KEY}."
    for path in reversed(states):
        with suppress(TrainingError, CheckpointError):  # damaged: resuming says so
            saved = load_state(path).tensors.get("net", {})
            own = {name: saved[prefix + name].cpu() for name in mine if prefix + name in saved}
            if own.keys() != mine.keys() or any(own[n].shape != mine[n].shape for n in mine):
                return False  # a LoRA's state, or one that resuming refuses
            changed = any(not torch.equal(own[name], mine[name]) for name in mine)
            stage.net.autoencoder.load_state_dict(own)
            return changed
    return False
