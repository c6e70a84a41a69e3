"""Saved training states: safetensors and JSON, written whole or not at all.

A state is written beside its place, every file is brought to the disk, then the hashes of all of
them, and then one rename makes it a state. One whose files are not what its hashes say is damaged.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..checkpoints.archive import open_tensors
from ..checkpoints.tensors import check_sum, save_tensors, sha256
from ..errors import CheckpointError, OutputError, TrainingError
from ..files import atomic_folder, remove_folder, sync, write_json
from ..plain import read_json

KEEP = 2
"""Saved states kept: the newest, and one before it."""

HASHES = "hashes.json"
"""File -> its SHA-256: written last."""

BEST = "best.json"
"""Which state has the lowest validation loss."""

DAMAGED = ".damaged"
"""Ending of a state that was found to be so. It is kept, and is no state any more."""

FAILED = ".failed"
"""Ending of a state that shows a failure which ended training. It is kept, as a damaged one."""

_FORMAT = 2  # 1 had no hashes
_ROOM = 2**20  # bytes of what is written beside the tensors
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


@dataclass
class State:
    """All that training needs to go on exactly: tensors by group, and plain values."""

    values: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes on a disk, a little more than it takes."""
        groups = self.tensors.values()
        held = sum(one.numel() * one.element_size() for group in groups for one in group.values())
        return held + _ROOM


def save_state(folder: Path, state: State, keep: int = KEEP) -> Path:
    """Write `folder/step-N`, then remove all but the newest `keep` and the best.

    Where it shows a failure nothing is removed: the last good one stays.

    Raises:
        OutputError: it cannot be written, for want of room too: how much is needed and how much
            there is. The states before it stay.
    """
    target = state_at(folder, state.values["step"])
    check_room(folder, state.size)
    try:
        with atomic_folder(target) as beside:
            digests: dict[str, str] = {}
            for group, tensors in state.tensors.items():
                digests |= save_tensors(beside, group, tensors, shard_bytes=2**31)
            write_json(beside / "state.json", {**state.values, "format": _FORMAT})
            digests["state.json"] = sha256(beside / "state.json")
            for file in digests:
                sync(beside / file)
            write_json(beside / HASHES, digests)
    except OutputError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL:
            raise _no_room(folder, state.size) from error
        raise
    best = best_state(folder)
    for old in saved_states(folder)[:-keep] if not state.values.get("failing") else ():
        if best is None or step_of(old) != best.step:
            remove_folder(old)
    return target


def check_room(folder: Path, needed: int) -> None:
    """Raise OutputError where fewer than `needed` bytes are free for `folder`."""
    if _free(folder) < needed:
        raise _no_room(folder, needed)


def _free(folder: Path) -> int:
    there = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.is_dir())
    return shutil.disk_usage(there).free


def _no_room(folder: Path, needed: int) -> OutputError:
    free = _free(folder)
    return OutputError(
        f"cannot write a state into {folder}: it needs {needed / 1e6:,.1f} MB, and "
        f"{free / 1e6:,.1f} MB are free there; free some, or lower keep_states. "
        "The states before it are whole"
    )


def saved_states(folder: Path) -> list[Path]:
    """States, oldest first, by their names alone: one may be damaged."""
    found = (path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdecimal())
    return sorted((path for path in found if (path / "state.json").is_file()), key=step_of)


def good_state(folder: Path) -> Path | None:
    """The newest state that shows no failure, and is not damaged; None where there is none."""
    for path in reversed(saved_states(folder)):
        with suppress(TrainingError):
            if not load_values(path).get("failing"):
                return path
    return None


def put_failed_aside(folder: Path) -> None:
    """Rename the states after the last good one, if there is one."""
    good = good_state(folder)
    for path in saved_states(folder):
        if good and step_of(path) > step_of(good):
            aside = path.with_name(path.name + FAILED)
            if aside.exists():  # of an earlier attempt
                remove_folder(aside)
            path.rename(aside)


def state_at(folder: Path, step: int) -> Path:
    """The folder of the state of a step."""
    return folder / f"step-{step:08d}"


def step_of(state: Path) -> int:
    """The step that a saved state's folder is named after."""
    return int(state.name.removeprefix("step-"))


def newest_state(folder: Path, warn: Callable[[str], None]) -> tuple[Path, State] | None:
    """The newest state that is whole; None where nothing was saved.

    A damaged one is passed over: `warn` gets its name and what is wrong, and it is renamed.

    Raises:
        TrainingError: none of them is whole.
    """
    faults = []
    for path in reversed(saved_states(folder)):
        try:
            return path, load_state(path)
        except (TrainingError, CheckpointError) as error:
            faults.append(str(error))
            warn(f"{error}; it is passed over, and the state before it is taken")
            with suppress(OSError):
                path.rename(path.with_name(path.name + DAMAGED))
    if faults:
        raise TrainingError(
            f"no saved state in {folder} is whole; the newest: {faults[0]}. Bring one back from a "
            f"copy, or remove {folder} to train it anew"
        )
    return None


@dataclass(frozen=True)
class Best:
    """The state with the lowest validation loss, and what that was measured on."""

    step: int
    loss: float
    measured: str = ""

    def beats(self, other: Best | None) -> bool:
        """Whether it is better; a loss of other pictures is not compared."""
        return other is None or other.measured != self.measured or self.loss < other.loss


def best_state(folder: Path) -> Best | None:
    """The best state that is there; None where there is none, or nothing was measured."""
    try:
        values = read_json(folder / BEST)
        loss, measured = float(values["loss"]), str(values.get("measured", ""))
        best = Best(int(values["step"]), loss, measured)
    except (OSError, AttributeError, KeyError, TypeError, ValueError):
        return None
    return best if best.step in map(step_of, saved_states(folder)) else None


def mark_best(folder: Path, best: Best) -> None:
    """Point to a state, which is kept beside the newest ones."""
    write_json(folder / BEST, asdict(best))


def load_values(path: Path) -> dict[str, Any]:
    """Read the plain values of one state. Raises TrainingError where they are damaged."""
    try:
        values: dict[str, Any] = read_json(path / "state.json")
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path / 'state.json'} is damaged: {error}") from None
    return values


def load_state(path: Path) -> State:
    """Read one state, and compare it with its hashes, which the oldest states do not have.

    Raises:
        TrainingError: it is damaged.
        CheckpointError: its tensors are.
    """
    values = load_values(path)
    if values.pop("format", 1) != 1 or (path / HASHES).exists():
        _check_hashes(path)
    groups: dict[str, list[Path]] = {}
    for file in sorted(path.glob("*.safetensors")):
        groups.setdefault(file.name.split("-")[0].removesuffix(".safetensors"), []).append(file)
    return State(values, {group: dict(open_tensors(files)) for group, files in groups.items()})


def _check_hashes(path: Path) -> None:
    try:
        digests = dict(read_json(path / HASHES))
    except (OSError, TypeError, ValueError) as error:
        raise TrainingError(f"{path / HASHES} is damaged: {error}") from None
    for name, digest in digests.items():
        if not (path / name).is_file():
            raise TrainingError(f"{path} is damaged: it has no {name}")
        check_sum(path / name, digest, f"is damaged: its SHA-256 is not the one in {HASHES}")
