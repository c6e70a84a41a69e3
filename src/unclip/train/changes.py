"""By what a saved state does not fit a recipe any more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ..checkpoints.settings import leaves
from ..diffusion.few_steps import AdversarialObjective
from ..stages import on_meta
from .contrastive import heads_of, losses_of
from .recipe import FROM, Base, StageRecipe


def changes(old: StageRecipe, new: StageRecipe, where: str) -> str:
    """Settings by which a saved state of `old` does not fit `new`, in words; empty if it fits."""
    pairs: dict[str, Any] = {}
    if shapes(old) != shapes(new):
        pairs = _changed(leaves(old.config.dump(), where), leaves(new.config.dump(), where))
        pairs = {key: pair for key, pair in pairs.items() if ".sampling." not in key}
    begun, wanted = (getattr(one.config, "objective", None) for one in (old, new))
    if isinstance(wanted, AdversarialObjective) and not isinstance(begun, AdversarialObjective):
        kind = begun.kind if begun else None
        pairs[f"{where}.objective.kind"] = (kind, wanted.kind)  # the state has no critic
    judged = [getattr(one.config, "critic", None) is not None for one in (old, new)]
    if judged == [False, True]:  # an autoencoder's
        pairs[f"{where}.critic"] = (None, "given")
    if old.train and new.train and old.train.lora != new.train.lora:
        pairs[f"{where}.train.lora"] = (old.train.lora, new.train.lora)
    if heads_of(old.config) != heads_of(new.config):
        pairs[f"{where}.objective"] = (losses_of(begun), losses_of(wanted))
    if old.train and new.train and old.train.optimizer != new.train.optimizer:
        pairs[f"{where}.train.optimizer"] = (old.train.optimizer, new.train.optimizer)
    return ", ".join(f"{key} = {one}, and now it is {two}" for key, (one, two) in pairs.items())


def changed_base(was: Base, now: Base, stage: StageRecipe, where: str) -> str:
    """Whether a state begun from `was` cannot go on from `now`, in words; empty if it can.

    A state that holds all of a stage may go on where the model it was taken from has changed.
    """
    needs_it = stage.teacher == FROM or bool(stage.train and stage.train.lora)
    if was[1] == now[1] or (was[0] == now[0] and not needs_it):
        return ""
    one, two = (f"{name} ({digest})" if name else "none" for name, digest in (was, now))
    return f"{where}.{FROM} = {one}, and now it is {two}"


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
