"""Writing tensors, and reading back what we wrote: safetensors, in shards of bounded size."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import CheckpointError, OutputError
from ._containers import SAFE_DTYPES

SHARD_BYTES = 14 * 2**20
"""Largest weights file written, but for a single tensor that is larger."""


def save_tensors(
    folder: Path, name: str, tensors: Mapping[str, Tensor], shard_bytes: int = SHARD_BYTES
) -> list[str]:
    """Write `tensors` into `folder` and return the files' names, in order.

    Raises:
        OutputError: a file cannot be written.
    """
    sizes = {key: tensor.numel() * tensor.element_size() for key, tensor in tensors.items()}
    shards = _shards(sizes, shard_bytes)
    files = []
    for number, keys in enumerate(shards, start=1):
        files.append(_file(name, number, len(shards)))
        shard = {key: tensors[key].detach().cpu().contiguous() for key in keys}
        try:
            save_file(shard, folder / files[-1])
        except SafetensorError as error:  # its way to say that the disk is full
            raise OutputError(f"cannot write {folder / files[-1]}: {error}") from None
    return files


def _shards(sizes: Mapping[str, int], shard_bytes: int) -> list[list[str]]:
    """Which names go into which file, in order."""
    shards: list[list[str]] = [[]]
    room = shard_bytes
    for key, size in sizes.items():
        if size > room and shards[-1]:
            shards.append([])
            room = shard_bytes
        shards[-1].append(key)
        room -= size
    return shards


def _file(name: str, number: int, count: int) -> str:
    return f"{name}{f'-{number:05d}-of-{count:05d}' if count > 1 else ''}.safetensors"


class Lazy(Protocol):
    """Tensors that are read one by one, and told of before."""

    def __iter__(self) -> Iterator[str]:
        """Their names."""
        ...

    def __getitem__(self, key: str, /) -> Tensor:
        """Read one."""
        ...

    def shape(self, key: str, /) -> tuple[int, ...]:
        """Its shape."""
        ...

    def dtype(self, key: str, /) -> torch.dtype:
        """The type of its numbers."""
        ...


@dataclass(frozen=True)
class Cast:
    """The same tensors, those of floating point as `to`; as they are where it is None."""

    tensors: Lazy
    to: torch.dtype | None

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __getitem__(self, key: str) -> Tensor:
        """Read one and cast it.

        Raises:
            CheckpointError: it holds numbers that `to` has no room for.
        """
        value = self.tensors[key]
        cast = value.to(self.dtype(key))
        if cast.dtype == torch.float16 != value.dtype and (cast.isinf() & value.isfinite()).any():
            raise CheckpointError(f"'{key}' holds numbers too large for float16; take bfloat16")
        return cast

    def shape(self, key: str) -> tuple[int, ...]:
        """As it was."""
        return self.tensors.shape(key)

    def dtype(self, key: str) -> torch.dtype:
        """As it will be."""
        own = self.tensors.dtype(key)
        return self.to if self.to and own.is_floating_point else own

    def sizes(self) -> dict[str, int]:
        """Bytes of each."""
        return {key: math.prod(self.shape(key)) * self.dtype(key).itemsize for key in self}


def stream_tensors(
    folder: Path,
    name: str,
    tensors: Cast,
    shard_bytes: int | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> dict[str, str]:
    """Write tensors into `folder`, of which one at a time is in memory.

    Args:
        folder: is there.
        name: the files' stem.
        tensors: what to write.
        shard_bytes: largest file, but for a single larger tensor; None is one file.
        on_bytes: told how many bytes each tensor was.

    Returns:
        The files' names, in order, and the SHA-256 of each.

    Raises:
        OSError: a file cannot be written.
    """
    sizes = tensors.sizes()
    shards = _shards(sizes, shard_bytes or sum(sizes.values()))
    files = [_file(name, number, len(shards)) for number in range(1, len(shards) + 1)]
    return {
        file: _stream(folder / file, keys, tensors, on_bytes)
        for file, keys in zip(files, shards, strict=True)
    }


def _stream(
    file: Path, keys: list[str], tensors: Cast, on_bytes: Callable[[int], None] | None
) -> str:
    """Write one file and give its SHA-256. Wide numbers come first, so that all are aligned."""
    keys = sorted(keys, key=lambda key: -tensors.dtype(key).itemsize)
    digest = hashlib.sha256()
    with file.open("wb") as opened:
        header = _header(keys, tensors)
        opened.write(header)
        digest.update(header)
        for key in keys:
            raw = tensors[key].detach().contiguous().flatten().view(torch.uint8).numpy().data
            opened.write(raw)
            digest.update(raw)
            if on_bytes:
                on_bytes(len(raw))
    return digest.hexdigest()


def _header(keys: list[str], tensors: Cast) -> bytes:
    """What stands before the numbers: its own length, then where each tensor lies."""
    names = {dtype: name for name, dtype in SAFE_DTYPES.items()}
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    sizes = tensors.sizes()
    for key in keys:
        size = sizes[key]
        entries[key] = {
            "dtype": names[tensors.dtype(key)],
            "shape": list(tensors.shape(key)),
            "data_offsets": [at, at + size],
        }
        at += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def load_tensors(files: list[Path], device: str = "cpu") -> dict[str, Tensor]:
    """Read safetensors files into one state dict, memory-mapped.

    Raises:
        CheckpointError: a file is missing, truncated or not safetensors, or a key comes twice.
    """
    tensors: dict[str, Tensor] = {}
    for file in files:
        if not file.is_file():
            raise CheckpointError(f"weights file {file} is missing")
        try:
            with safe_open(file, framework="pt", device=device) as opened:
                for key in opened.keys():  # noqa: SIM118 - not a mapping
                    if key in tensors:
                        raise CheckpointError(f"{file}: '{key}' stands in two files")
                    tensors[key] = opened.get_tensor(key)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file} is damaged or not safetensors: {error}") from None
    return tensors


def cast(net: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """The state dict with its floating-point tensors as `dtype`."""
    return {
        key: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for key, tensor in net.state_dict().items()
    }


def sha256(file: Path) -> str:
    """Hex digest of a file, read once in this process for as long as it stays as it is."""
    stat = file.stat()
    return _sha256(file.absolute(), stat.st_ino, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1024)
def _sha256(file: Path, *_stat: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def check_sum(file: Path, digest: str) -> None:
    """Raise CheckpointError where a file is not the one that model.json names."""
    try:
        is_it = sha256(file) == digest
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror or error}") from None
    if not is_it:
        raise CheckpointError(
            f"{file} is not the file that model.json names: its SHA-256 is another. It was "
            "changed or damaged: copy or fetch the model again; or it is being trained: try again"
        )
