"""Weights from files, read as data: nothing in them is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...checkpoints.archive import LazyTensor, contents


def load(path: Path | str) -> Any:
    """What `torch.load` gives of a `.pth`: nested dicts with tensors on the CPU.

    Objects of other classes in it, such as a version, stay inert.

    Raises:
        CheckpointError: it is missing, damaged or of another kind, or wants to run code.
    """
    return _read(contents(Path(path)))


def _read(value: Any) -> Any:
    if isinstance(value, LazyTensor):
        return value.read()
    if isinstance(value, Mapping):
        return {name: _read(one) for name, one in value.items()}
    return [_read(one) for one in value] if isinstance(value, list) else value
