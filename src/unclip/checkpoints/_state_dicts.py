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

from .archive import Tensors, contents, tensors_of
from .lazy_tensor import Entries, LazyTensor

AVERAGED = ("ema_model", "model_ema", "ema_state_dict", "state_dict_ema", "ema")
"""Keys of averaged weights, which are taken where there are any."""

WRAPPERS = (*AVERAGED, "state_dict", "model_state_dict", "model", "module", "net", "weights")
PREFIXES = ("module.", "_orig_mod.", "model.")
DEPTH = 4
"""Wrappers around wrappers."""


def state_dict(data: Any, depth: int = DEPTH) -> Entries | None:
    """The names and tensors in what a file holds, or None where there are none."""
    if not isinstance(data, Mapping) or not depth:
        return None
    if data and is_state_dict(data):
        return _without_prefix(data)
    inside = (state_dict(data[key], depth - 1) for key in WRAPPERS if key in data)
    return next((found for found in inside if found is not None), None)


def is_state_dict(data: Mapping[Any, Any]) -> bool:
    """Whether it is names and tensors, and nothing else."""
    return all(
        isinstance(key, str) and isinstance(value, (LazyTensor, Tensor))
        for key, value in data.items()
    )


def _without_prefix(named: Entries) -> Entries:
    """Without what a wrapper of the network put before every name."""
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in named):
            return _without_prefix({key.removeprefix(prefix): v for key, v in named.items()})
    return named


def open_weights(path: Path) -> Tensors:
    """As `open_tensors`, but a wrapped state dict is taken out of its wrapping.

    Raises:
        CheckpointError: the file is missing, damaged or of another kind; it wants to run code, or
            holds no state dict.
    """
    data = contents(path)
    found = state_dict(data)
    if found is None:  # whose error says what stands in its place
        return tensors_of(data, str(path))
    return Tensors(found, str(path), wrapped=not is_state_dict(data))
