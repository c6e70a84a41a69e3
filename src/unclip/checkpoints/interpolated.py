"""A model between two others: each weight is (1 - w) of the first and w of the second.

Robust Fine-Tuning of Zero-Shot Models (WiSE-FT, arXiv 2109.01903, section 3): between a model and
what was fine-tuned from it lie models that know the new and have not forgotten the old.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import CheckpointError, UsageError
from ..stages import StageConfig
from .format import Plan
from .lazy_tensor import LazyTensor
from .lora import DIGITS
from .part import Part

MEANINGS = ("kind", "schedule", "parameterization", "space")
"""Settings that say what the numbers of a network mean."""


def interpolated(one: Plan, other: Plan, weight: float) -> Plan:
    """The model at `weight` between two, with the settings of the first.

    It knows the words of both, or lists none where one of them lists none.

    Args:
        one: the model at 0.
        other: the model at 1.
        weight: 0 to 1.

    Raises:
        UsageError: the weight is out of range.
        CheckpointError: they are of different networks, or read prompts differently; a file is
            damaged.
    """
    if not 0 <= weight <= 1:
        raise UsageError(f"weight must be from 0, the first model, to 1, the second, got {weight}")
    if one.parts.keys() != other.parts.keys():
        raise _unlike(one, other, "stages", ", ".join(one.parts), ", ".join(other.parts))
    if one.read_tokenizer().to_json() != other.read_tokenizer().to_json():
        raise CheckpointError(f"{one.name} and {other.name} have different tokenizers")
    parts = {name: _part(one, other, name, weight) for name in one.parts}
    both = bool(one.vocabulary) and bool(other.vocabulary)
    said = f"weights: {1 - weight:g} of {one.name} ({one.digest}), "
    said += f"{weight:g} of {other.name} ({other.digest})"
    return replace(
        one,
        parts=parts,
        hash=hashlib.sha256(said.encode()).hexdigest()[:DIGITS],
        notes=(*one.notes, said),
        vocabulary=one.vocabulary | other.vocabulary if both else type(one.vocabulary)(),
    )


def _part(one: Plan, other: Plan, name: str, weight: float) -> Part:
    mine, theirs = one.parts[name], other.parts[name]
    ours, found = _settings(mine.config), _settings(theirs.config)
    for key in (key for key in MEANINGS if ours.get(key) != found.get(key)):
        raise _unlike(one, other, f"'{name}.{key}'", ours.get(key), found.get(key))
    _check_shapes(one, other, name)
    return replace(mine, patch=_Between(mine, theirs.translated(other.place_of(name)), weight))


def _settings(config: StageConfig) -> Mapping[str, object]:
    return config.dump()


def _check_shapes(one: Plan, other: Plan, name: str) -> None:
    """Raise CheckpointError unless a stage's weights have the same names and shapes in both."""
    mine, theirs = (
        {key: tuple(v.shape) for key, v in p.parts[name].build().net_at_rest.state_dict().items()}
        for p in (one, other)
    )
    for key in dict.fromkeys([*mine, *theirs]):
        if mine.get(key) != theirs.get(key):
            was, now = mine.get(key, "not there"), theirs.get(key, "not there")
            raise _unlike(one, other, f"the weight '{key}' of stage '{name}'", was, now)


def _unlike(one: Plan, other: Plan, what: str, mine: object, theirs: object) -> CheckpointError:
    return CheckpointError(
        f"no model lies between {one.name} and {other.name}: {what} of the first: {mine}; "
        f"of the second: {theirs}"
    )


class _Between:
    """A stage's weights between the file's and another's."""

    def __init__(self, mine: Part, theirs: Mapping[str, LazyTensor], weight: float) -> None:
        self.before, self.theirs, self.weight = mine.patch, theirs, weight

    def __call__(self, name: str, value: Tensor) -> Tensor:
        """(name, the first's) -> what lies between, float32; whole numbers are the first's."""
        value = value if self.before is None else self.before(name, value)
        if not value.is_floating_point():
            return value
        return torch.lerp(value.float(), self.theirs[name].read().float(), self.weight)
