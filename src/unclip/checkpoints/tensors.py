"""Safetensors files, read and written one tensor at a time, and the check of their SHA-256."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import CheckpointError
from ..plain import parse_json
from ._unpickler import DAMAGE
from .lazy_tensor import Entries, LazyTensor, Storage, bytes_of, in_file, value_of

SHARD_BYTES = 14 * 2**20
"""Largest weights file written, but for a single tensor that is larger."""

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "C64": torch.complex64,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip
INT8 = "W = NAME * NAME.scale, broadcast"
"""What a file with int8 tensors says of them in its header: see `int8.py`."""
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def read_safetensors(file: Path) -> dict[str, LazyTensor]:
    """The tensors of a safetensors file, from its header.

    The library sees that names, types, sizes and places fit each other and the file. Values are
    read by our own seeks: its maps would count as memory, and end the process where a file shrinks.

    Raises:
        CheckpointError: it is truncated, or its header does not fit it.
    """
    try:
        with safe_open(file, "pt"):
            pass
        with file.open("rb") as opened:
            start = 8 + int.from_bytes(opened.read(8), "little")
            header = parse_json(opened.read(start - 8), _unique)
        header.pop("__metadata__", None)
        return {name: _entry(file, start, entry) for name, entry in header.items()}
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror or error}") from None
    except (*DAMAGE, SafetensorError) as error:
        raise CheckpointError(f"{file} is damaged or truncated: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The library takes the last of several entries of one name."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"its header has '{name}' twice")
        values[name] = value
    return values


def _entry(file: Path, start: int, entry: dict[str, Any]) -> LazyTensor:
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"it has numbers of type {entry['dtype']}, which this cannot read")
    begin, end = entry["data_offsets"]
    storage = Storage(file, start + begin, end - begin)
    return in_file(storage, DTYPES[entry["dtype"]], tuple(entry["shape"]))


def save_tensors(
    folder: Path,
    name: str,
    tensors: Entries,
    shard_bytes: int | None = SHARD_BYTES,
    on_bytes: Callable[[int], None] | None = None,
) -> dict[str, str]:
    """Write tensors into `folder`, one at a time: the library needs all of a file in memory.

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
    shards = _shards({key: bytes_of(one) for key, one in tensors.items()}, shard_bytes)
    number = f"-{{:05d}}-of-{len(shards):05d}" if len(shards) > 1 else ""
    digests = {}
    for place, keys in enumerate(shards, start=1):
        file = f"{name}{number.format(place)}.safetensors"
        digests[file] = _write(folder / file, {key: tensors[key] for key in keys}, on_bytes)
    return digests


def _shards(sizes: Mapping[str, int], shard_bytes: int | None) -> list[list[str]]:
    """Which names go into which file, in order."""
    shards: list[list[str]] = [[]]
    room = whole = sum(sizes.values()) if shard_bytes is None else shard_bytes
    for key, size in sizes.items():
        if size > room and shards[-1]:
            shards.append([])
            room = whole
        shards[-1].append(key)
        room -= size
    return shards


def _write(file: Path, tensors: Entries, on_bytes: Callable[[int], None] | None) -> str:
    """Write one file and give its SHA-256. Wide numbers come first, so that all are aligned."""
    ordered = sorted(tensors, key=lambda key: -tensors[key].dtype.itemsize)
    digest = hashlib.sha256()
    with file.open("wb") as opened:
        header = _header({key: tensors[key] for key in ordered})
        opened.write(header)
        digest.update(header)
        for key in ordered:
            value = value_of(tensors[key]).detach().cpu().contiguous()
            raw = value.flatten().view(torch.uint8).numpy().data
            opened.write(raw)
            digest.update(raw)
            if on_bytes:
                on_bytes(len(raw))
            del value, raw  # before the next is read
    return digest.hexdigest()


def _header(tensors: Entries) -> bytes:
    """What stands before the numbers: its own length, then where each tensor lies."""
    whole = any(one.dtype == torch.int8 for one in tensors.values())
    entries: dict[str, Any] = {
        "__metadata__": {"format": "pt", **({"int8": INT8} if whole else {})}
    }
    at = 0
    for key, one in tensors.items():
        end = at + bytes_of(one)
        dtype, shape = NAMES[one.dtype], list(one.shape)
        entries[key] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def cast(net: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """The state dict with its floating-point tensors as `dtype`."""
    return {
        key: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for key, tensor in net.state_dict().items()
    }


def cast_lazily(
    tensors: Mapping[str, LazyTensor], dtype: torch.dtype | None
) -> dict[str, LazyTensor]:
    """The same of lazy tensors, of which one with numbers too large is an error when it is read.

    None leaves each its own type.
    """
    return {
        key: replace(one, dtype=dtype, read=partial(_cast, key, one, dtype))
        if dtype and one.dtype.is_floating_point
        else one
        for key, one in tensors.items()
    }


def _cast(key: str, tensor: LazyTensor, dtype: torch.dtype) -> Tensor:
    value = tensor.read()
    cast = value.to(dtype)
    if dtype == torch.float16 != value.dtype and (cast.isinf() & value.isfinite()).any():
        raise CheckpointError(f"'{key}' holds numbers too large for float16; take bfloat16")
    return cast


def sha256(file: Path) -> str:
    """Hex digest of a file, read once in this process for as long as it stays as it is."""
    stat = file.stat()
    return _sha256(file.absolute(), stat.st_ino, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1024)
def _sha256(file: Path, *_stat: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


UNLIKE = (
    "is not the file that model.json names: its SHA-256 is another. It was changed or damaged: "
    "copy or fetch the model again; or it is being trained: try again"
)


def check_sum(file: Path, digest: str, fault: str = UNLIKE) -> None:
    """Raise CheckpointError, which says `fault`, where a file's SHA-256 is another."""
    try:
        is_it = sha256(file) == digest
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror or error}") from None
    if not is_it:
        raise CheckpointError(f"{file} {fault}")
