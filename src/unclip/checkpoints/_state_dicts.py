"""The state dict in a weights file, however the program that saved it wrapped it.

open_clip writes {"state_dict": {"module.visual...": ...}}, others `model_state_dict`, `model`,
or a second set of averaged weights (EMA) beside them; DistributedDataParallel puts `module.` and
torch.compile `_orig_mod.` before every name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ._containers import kind_of
from .archive import Blob, Tensors, open_pickle, open_tensors, tensors_of

AVERAGED = ("ema_model", "model_ema", "ema_state_dict", "state_dict_ema", "ema")
"""Keys of averaged weights, which are taken where there are any."""

WRAPPERS = (*AVERAGED, "state_dict", "model_state_dict", "model", "module", "net", "weights")
PREFIXES = ("module.", "_orig_mod.", "model.")
DEPTH = 4
"""Wrappers around wrappers."""

Named = Mapping[str, "Blob | Tensor"]


def state_dict(data: Any, depth: int = DEPTH) -> Named | None:
    """The names and tensors in what `open_pickle` gave, or None where there are none."""
    if not isinstance(data, Mapping) or not depth:
        return None
    if data and is_state_dict(data):
        return without_prefix(data)
    inside = (state_dict(data[key], depth - 1) for key in WRAPPERS if key in data)
    return next((found for found in inside if found is not None), None)


def is_state_dict(data: Any) -> bool:
    """Whether it is names and tensors, and nothing else."""
    return isinstance(data, Mapping) and all(
        isinstance(key, str) and isinstance(value, (Blob, Tensor)) for key, value in data.items()
    )


def without_prefix(named: Named) -> Named:
    """Without what a wrapper of the network put before every name."""
    for prefix in PREFIXES:
        if named and all(key.startswith(prefix) for key in named):
            return without_prefix({key.removeprefix(prefix): v for key, v in named.items()})
    return named


def open_weights(path: Path) -> Tensors:
    """As `open_tensors`, but a wrapped state dict is taken out of its wrapping.

    Raises:
        CheckpointError: the file is missing, damaged or of another kind; it wants to run code, or
            holds no state dict.
    """
    if kind_of(path) in ("zip", "pickle"):
        data = open_pickle(path)
        found = state_dict(data)
        if found is None:
            return tensors_of(data, str(path))  # which says what stands in its place
        wrapped = {} if is_state_dict(data) else {"wrapper": ", ".join(map(str, data))}
        return Tensors(found, str(path), wrapped)
    tensors = open_tensors(path)
    return Tensors(without_prefix(tensors._entries), str(path), tensors.metadata)
