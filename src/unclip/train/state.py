"""Saved training states: safetensors and JSON, written whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..checkpoints.archive import open_tensors
from ..checkpoints.tensors import save_tensors
from ..errors import TrainingError
from ..files import atomic_folder, remove_folder, write_json
from ..plain import read_json

KEEP = 2
"""Saved states kept: the newest, and one before it."""


@dataclass
class State:
    """All that training needs to go on exactly: tensors by group, and plain values."""

    values: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)


def save_state(folder: Path, state: State) -> Path:
    """Write `folder/step-N`, then remove all but the newest `KEEP`."""
    target = folder / f"step-{state.values['step']:08d}"
    with atomic_folder(target) as beside:
        for group, tensors in state.tensors.items():
            save_tensors(beside, group, tensors, shard_bytes=2**31)
        write_json(beside / "state.json", state.values)
    for old in saved_states(folder)[:-KEEP]:
        remove_folder(old)
    return target


def saved_states(folder: Path) -> list[Path]:
    """Complete states, oldest first."""
    found = (path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdecimal())
    return sorted((path for path in found if (path / "state.json").is_file()), key=step_of)


def step_of(state: Path) -> int:
    """The step that a saved state's folder is named after."""
    return int(state.name.removeprefix("step-"))


def load_values(path: Path) -> dict[str, Any]:
    """Read the plain values of one state. Raises TrainingError where they are damaged."""
    try:
        values: dict[str, Any] = read_json(path / "state.json")
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path / 'state.json'} is damaged: {error}") from None
    return values


def load_state(path: Path) -> State:
    """Read one state.

    Raises:
        TrainingError: it is damaged.
        CheckpointError: its tensors are.
    """
    values = load_values(path)
    groups: dict[str, list[Path]] = {}
    for file in sorted(path.glob("*.safetensors")):
        groups.setdefault(file.name.split("-")[0].removesuffix(".safetensors"), []).append(file)
    return State(values, {group: dict(open_tensors(files)) for group, files in groups.items()})
