"""Foreign weight files, opened lazily and safely: names and shapes at once, values when asked for.

What a file is, its content says, not its name: safetensors, torch's zips and older pickles,
TorchScript archives, and indexes that name the shards of a set. Nothing in any of them is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..files import inside
from ..plain import read_json
from ._blob import Blob
from ._containers import kind_of, read_safetensors, read_torch
from ._globals import version_text

__all__ = ["Blob", "Tensors", "open_pickle", "open_tensors", "tensors_of", "version_text"]


class Tensors(Mapping[str, Tensor]):
    """Named tensors that are read one by one, each time that they are asked for.

    Args:
        entries: tensors in files, or at hand.
        where: the file that those at hand are said to be from.
        metadata: texts that came with them.
    """

    def __init__(
        self,
        entries: Mapping[str, Blob | Tensor],
        where: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._entries = dict(entries)
        self._where = where
        self.metadata = dict(metadata or {})

    def __getitem__(self, key: str) -> Tensor:
        """Read one tensor, to the CPU. Raises CheckpointError where its file has gone bad."""
        return _value(self._entries[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __repr__(self) -> str:
        return f"<{len(self)} tensors of {self._where}>"

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of a tensor; nothing is read."""
        return tuple(self._entries[key].shape)

    def dtype(self, key: str) -> torch.dtype:
        """The type of its numbers; nothing is read."""
        return self._entries[key].dtype

    def where(self, key: str) -> str:
        """The file that a tensor is from, for an error's text."""
        entry = self._entries.get(key)
        return str(entry.file) if isinstance(entry, Blob) else self._where

    def rows(self, key: str, start: int, stop: int) -> Tensor:
        """Read the part [start:stop] of a tensor's first axis alone."""
        entry = self._entries[key]
        return entry.rows(start, stop).read() if isinstance(entry, Blob) else entry[start:stop]

    def under(self, prefix: str) -> Tensors:
        """Those whose names begin with `prefix`, without it."""
        size = len(prefix)
        inside = {k[size:]: v for k, v in self._entries.items() if k.startswith(prefix)}
        return Tensors(inside, self._where, self.metadata)

    def behind(self, prefix: str) -> Tensors:
        """The same, with `prefix` before each name."""
        longer = {f"{prefix}{key}": value for key, value in self._entries.items()}
        return Tensors(longer, self._where, self.metadata)


def open_tensors(paths: Path | str | Sequence[Path | str], prefix: str = "") -> Tensors:
    """Open weight files as one set of tensors.

    Args:
        paths: a file or several. The index of a sharded set stands for all its shards.
        prefix: keep the names that begin with this, without it.

    Raises:
        CheckpointError: a file is missing, damaged or of another kind; it wants to run code; a
            name stands in two files; an index and its shards do not agree. Names file and key.
    """
    several = [paths] if isinstance(paths, (str, Path)) else list(paths)
    opened: dict[str, Blob] = {}
    metadata: dict[str, str] = {}
    for file in map(Path, several):
        blobs, texts = _open(file)
        _merge(opened, blobs)
        metadata.update(texts)
    where = ", ".join(str(path) for path in several)
    return Tensors(opened, where, metadata).under(prefix)


def open_pickle(path: Path | str) -> Any:
    """The nested data of a file of torch's: dicts, lists, numbers, texts and `Blob`s.

    A `Blob` is a tensor not yet read: it has `shape`, `dtype` and `read()`. Objects of classes
    that training programs leave behind are inert leftovers; any other refuses the file.

    Raises:
        CheckpointError: the file is missing, damaged or of another kind, or wants to run code.
    """
    file = Path(path)
    kind = kind_of(file)
    if kind not in ("zip", "pickle"):
        raise CheckpointError(f"{file} is {kind}, not a file of torch's")
    return read_torch(file, kind)


def tensors_of(mapping: Any, where: str) -> Tensors:
    """A state dict from inside `open_pickle`'s data, as tensors.

    Args:
        mapping: names -> `Blob`s or tensors.
        where: what holds it, for an error's text.

    Raises:
        CheckpointError: it is no state dict. Names the key.
    """
    if not isinstance(mapping, Mapping):
        raise CheckpointError(f"{where} holds {_kind(mapping)}, not a state dict")
    for key, value in mapping.items():
        if not isinstance(key, str) or not isinstance(value, (Blob, Tensor)):
            among = ", ".join(str(name) for name in list(mapping)[:6])
            raise CheckpointError(
                f"{where} is not a state dict: '{key}' is {_kind(value)} (it holds {among})"
            )
    return Tensors(mapping, where)


def _value(entry: Blob | Tensor) -> Tensor:
    return entry.read() if isinstance(entry, Blob) else entry


def _kind(value: Any) -> str:
    return "a dict" if isinstance(value, dict) else f"of type {type(value).__name__}"


def _open(file: Path) -> tuple[dict[str, Blob], dict[str, str]]:
    kind = kind_of(file)
    if kind == "safetensors":
        return read_safetensors(file)
    if kind == "json":
        return _open_index(file), {}
    data = read_torch(file, kind)
    return tensors_of(data, str(file))._entries, {}  # type: ignore[return-value]


def _merge(opened: dict[str, Blob], more: Mapping[str, Blob]) -> None:
    for key, blob in more.items():
        if key in opened:
            raise CheckpointError(f"'{key}' stands in {opened[key].file} and in {blob.file}")
        opened[key] = blob


def _open_index(index: Path) -> dict[str, Blob]:
    places = _read_index(index)
    opened: dict[str, Blob] = {}
    for name in dict.fromkeys(places.values()):
        shard = member(index.parent, name, index)
        if not shard.is_file():
            raise CheckpointError(f"{index} names {name}, which is missing")
        if kind_of(shard) == "json":
            raise CheckpointError(f"{index} names {name}, which is an index too")
        blobs, _ = _open(shard)
        _merge(opened, blobs)
        for key in blobs:
            if places.get(key) != name:
                raise CheckpointError(f"'{key}' of {shard} is not in {index} for that file")
    for key, name in places.items():
        if key not in opened:
            raise CheckpointError(f"{index} promises '{key}' in {name}, where it is not")
    return opened


def _read_index(index: Path) -> dict[str, str]:
    """The `weight_map`: names -> file names, complete sets of numbered shards only."""
    try:
        values = read_json(index)
        places = {str(key): str(name) for key, name in values["weight_map"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is no index of weights: {error!r}") from None
    names = set(places.values())
    for name in names:
        shard = re.fullmatch(r"(.*)-(\d+)-of-(\d+)(\.\w+)", name)
        if shard and int(shard[3]) != len(names):
            raise CheckpointError(f"{index} names {len(names)} shards of {int(shard[3])}")
    return places


def member(folder: Path, name: str, source: Path) -> Path:
    """The file `name` of `folder` that `source` asks for. Raises CheckpointError: see `inside`."""
    try:
        return inside(folder, name)
    except ValueError as error:
        raise CheckpointError(f"{source} names {error}") from None
