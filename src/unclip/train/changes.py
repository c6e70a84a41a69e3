"""By what a saved state does not fit a recipe any more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ..checkpoints.settings import leaves
from ..diffusion.objective import AdversarialObjective
from ..stages import on_meta
from .contrastive import heads_of, losses_of
from .recipe import StageRecipe


def changes(old: StageRecipe, new: StageRecipe, where: str) -> str:
    """Settings by which a saved state of `old` does not fit `new`, in words; empty if it fits."""
    pairs: dict[str, Any] = {}
    if shapes(old) != shapes(new):
        pairs = _changed(leaves(old.config.dump(), where), leaves(new.config.dump(), where))
        pairs = {key: pair for key, pair in pairs.items() if ".sampling." not in key}
    before, now = (getattr(one.config, "objective", None) for one in (old, new))
    if isinstance(now, AdversarialObjective) and not isinstance(before, AdversarialObjective):
        kind = before.kind if before else None
        pairs[f"{where}.objective.kind"] = (kind, now.kind)  # the state has no critic
    if old.train and new.train and old.train.lora != new.train.lora:
        pairs[f"{where}.train.lora"] = (old.train.lora, new.train.lora)
    if heads_of(old.config) != heads_of(new.config):
        pairs[f"{where}.objective"] = (losses_of(before), losses_of(now))
    if old.train and new.train and old.train.optimizer != new.train.optimizer:
        pairs[f"{where}.train.optimizer"] = (old.train.optimizer, new.train.optimizer)
    return ", ".join(f"{key} = {was}, and now it is {now}" for key, (was, now) in pairs.items())


def _changed(
    old: Iterable[tuple[str, Any]], new: Iterable[tuple[str, Any]]
) -> dict[str, tuple[Any, Any]]:
    before, now = dict(old), dict(new)
    keys = dict.fromkeys([*before, *now])
    pairs = {key: (before.get(key), now.get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def shapes(stage: StageRecipe) -> dict[str, torch.Size]:
    """The shape of every tensor of a stage's network."""
    return {name: one.shape for name, one in on_meta(stage.config).net.state_dict().items()}
