"""Weight files, opened lazily and safely: names and shapes at once, values when asked for.

What a file is, its content says, not its name: safetensors, torch's zips and older pickles,
TorchScript archives, and indexes that name the shards of a set. Nothing in any of them is run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError, counted
from ..files import inside
from ..plain import read_json
from ._torch_files import read_torch
from ._unpickler import version_text
from .lazy_tensor import Entries, LazyTensor, value_of
from .tensors import read_safetensors

__all__ = ["LazyTensor", "Tensors", "open_pickle", "open_tensors", "tensors_of", "version_text"]


class Tensors(Mapping[str, Tensor]):
    """Named tensors that are read one by one, each time that they are asked for.

    Args:
        entries: tensors in files, or at hand.
        where: the file that those at hand are said to be from.
        wrapped: whether a file held more than them.
    """

    def __init__(self, entries: Entries, where: str = "", wrapped: bool = False) -> None:
        self._entries = dict(entries)
        self._where = where
        self.wrapped = wrapped

    def __getitem__(self, key: str) -> Tensor:
        """Read one tensor, to the CPU. Raises CheckpointError where its file has gone bad."""
        return value_of(self._entries[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of a tensor; nothing is read."""
        return tuple(self._entries[key].shape)

    def dtype(self, key: str) -> torch.dtype:
        """The type of its numbers; nothing is read."""
        return self._entries[key].dtype

    def where(self, key: str) -> str:
        """The file that a tensor is from, for an error's text."""
        entry = self._entries.get(key)
        return str(entry.file) if isinstance(entry, LazyTensor) else self._where

    def under(self, prefix: str) -> Tensors:
        """Those whose names begin with `prefix`, without it."""
        found = {key: one for key, one in self._entries.items() if key.startswith(prefix)}
        inside = Tensors(found, self._where, self.wrapped)
        return inside.renamed(lambda key: key.removeprefix(prefix))

    def behind(self, prefix: str) -> Tensors:
        """The same, with `prefix` before each name."""
        return self.renamed(lambda key: f"{prefix}{key}")

    def renamed(self, fn: Callable[[str], str]) -> Tensors:
        """The same under other names."""
        entries = {fn(key): one for key, one in self._entries.items()}
        return Tensors(entries, self._where, self.wrapped)


def kind_of(file: Path) -> str:
    """`safetensors`, `zip`, `pickle` or `json`, told from the first bytes.

    Raises:
        CheckpointError: the file is missing or is something else, and then what.
    """
    if not file.is_file():
        problem = "is a folder" if file.is_dir() else "is missing"
        raise CheckpointError(f"weights file {file} {problem}")
    try:
        with file.open("rb") as opened:
            head = opened.read(64)
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror or error}") from None
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if head[:4] == b"PK\x03\x04":
        return "zip"
    if head[8:9] == b"{" and len(head) > 9:
        return "safetensors"
    if head[:1] == b"\x80":
        return "pickle"
    if text[:1] == b"{":
        return "json"
    raise CheckpointError(f"{file} {_what_else(text)}")


def _what_else(text: bytes) -> str:
    if not text:
        return "is empty"
    if text.startswith(b"version https://git-lfs"):
        return "is a git-lfs pointer, not the weights themselves: fetch them with `git lfs pull`"
    if text[:1] == b"<":
        return "is a web page, not weights: the download went wrong"
    return "is damaged or holds no weights: neither safetensors nor a file of torch's"


def contents(file: Path) -> Any:
    """What is in a weights file: the nested data that was saved, a `LazyTensor` for each tensor.

    Safetensors, TorchScript archives and indexes of shards give names and tensors. Objects of
    classes that training programs leave behind are inert leftovers; any other refuses the file.

    Raises:
        CheckpointError: the file is missing, damaged or of another kind, or wants to run code.
    """
    kind = kind_of(file)
    if kind == "safetensors":
        return read_safetensors(file)
    return _shards(file) if kind == "json" else read_torch(file)


def open_tensors(paths: Path | str | Sequence[Path | str]) -> Tensors:
    """Open weight files as one set of tensors.

    Args:
        paths: a file or several. The index of a sharded set stands for all its shards.

    Raises:
        CheckpointError: as `contents`; a file is no state dict; a name stands in two files; an
            index and its shards do not agree. Names file and key.
    """
    files = [Path(one) for one in ([paths] if isinstance(paths, (str, Path)) else paths)]
    opened: dict[str, LazyTensor] = {}
    for file in files:
        _merge(opened, _state_dict(file))
    return Tensors(opened, ", ".join(map(str, files)))


def open_pickle(path: Path | str) -> Any:
    """The `contents` of a file of torch's. Raises CheckpointError, also where it is none."""
    file = Path(path)
    kind = kind_of(file)
    if kind not in ("zip", "pickle"):
        raise CheckpointError(f"{file} is {kind}, not a file of torch's")
    return contents(file)


def tensors_of(mapping: Any, where: str) -> Tensors:
    """A state dict from inside what `open_pickle` gave of the file `where`, as tensors.

    Raises:
        CheckpointError: it is no state dict. Names the key.
    """
    if not isinstance(mapping, Mapping):
        raise CheckpointError(f"{where} holds {_kind(mapping)}, not a state dict")
    for key, value in mapping.items():
        if not isinstance(key, str) or not isinstance(value, (LazyTensor, Tensor)):
            among = ", ".join(str(name) for name in list(mapping)[:6])
            raise CheckpointError(
                f"{where} is not a state dict: '{key}' is {_kind(value)} (it holds {among})"
            )
    return Tensors(mapping, where)


def _kind(value: Any) -> str:
    return "a dict" if isinstance(value, dict) else f"of type {type(value).__name__}"


def _state_dict(file: Path) -> Mapping[str, Any]:
    return tensors_of(contents(file), str(file))._entries


def _merge(opened: dict[str, LazyTensor], more: Mapping[str, LazyTensor]) -> None:
    for key, tensor in more.items():
        if key in opened:
            raise CheckpointError(f"'{key}' stands in {opened[key].file} and in {tensor.file}")
        opened[key] = tensor


def _shards(index: Path) -> dict[str, LazyTensor]:
    """What an index names, which is all that its shards hold."""
    places = _places(index)
    opened: dict[str, LazyTensor] = {}
    for name in dict.fromkeys(places.values()):
        shard = member(index.parent, name, index)
        if not shard.is_file():
            raise CheckpointError(f"{index} names {name}, which is missing")
        if kind_of(shard) == "json":
            raise CheckpointError(f"{index} names {name}, which is an index too")
        inside_it = _state_dict(shard)
        _merge(opened, inside_it)
        for key in inside_it:
            if places.get(key) != name:
                raise CheckpointError(f"'{key}' of {shard} is not in {index} for that file")
    for key, name in places.items():
        if key not in opened:
            raise CheckpointError(f"{index} promises '{key}' in {name}, where it is not")
    return opened


def _places(index: Path) -> dict[str, str]:
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
            raise CheckpointError(
                f"{index} names {counted(len(names), 'shard')} of {int(shard[3])}"
            )
    return places


def member(folder: Path, name: str, source: Path) -> Path:
    """The file `name` of `folder` that `source` asks for. Raises CheckpointError: see `inside`."""
    try:
        return inside(folder, name)
    except ValueError as error:
        raise CheckpointError(f"{source} names {error}") from None
