"""Tensors that still lie in a file: shape and type at once, values when they are asked for.

Bytes are read with plain seeks, never mapped: reading a large file tensor by tensor then keeps
nothing of it in this process, and a file that shrinks meanwhile is an error, not a crash.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError

AXES = 64
"""Most axes of a tensor, as in torch itself."""
LARGEST = 2**59
"""No length, and no number of elements, reaches this: sixteen bytes each still fit 63 bits."""
REPEATED = 2**26
"""Most elements of a tensor that has fewer in its file, as `expand` makes them."""


@dataclass(eq=False)
class Storage:
    """A run of bytes in a file. `start` is -1 while its place is not yet known."""

    file: Path
    start: int
    bytes: int


@dataclass(frozen=True, eq=False)
class LazyTensor:
    """A tensor of a file. `read` gives its values, each time anew, in memory of their own.

    Raises:
        CheckpointError: by `read`: the file cannot be read, or has become shorter.
    """

    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    read: Callable[[], Tensor]


Entries = Mapping[str, LazyTensor | Tensor]
"""Named tensors, lazy or at hand."""


def value_of(tensor: LazyTensor | Tensor) -> Tensor:
    """Its values. Raises CheckpointError where its file has gone bad."""
    return tensor.read() if isinstance(tensor, LazyTensor) else tensor


def bytes_of(tensor: LazyTensor | Tensor) -> int:
    """How many bytes its values take."""
    return math.prod(tensor.shape) * tensor.dtype.itemsize


def in_file(
    storage: Storage,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    stride: tuple[int, ...] | None = None,
    offset: int = 0,
) -> LazyTensor:
    """The tensor in `storage`; `stride` (row by row if left out) and `offset` count elements.

    Raises:
        CheckpointError: there is no such tensor, or its values lie outside the storage.
    """
    file = storage.file
    if not possible(shape):
        raise CheckpointError(f"{file} is damaged: a tensor's shape is impossible")
    if stride is None:
        stride = torch.empty(shape, dtype=dtype, device="meta").stride()
    if len(stride) != len(shape) or not all(map(_natural, (*stride, offset))):
        raise CheckpointError(f"{file} is damaged: a tensor's layout is impossible")
    count = math.prod(shape)
    span = 1 + sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) if count else 0
    if count and (offset + span) * dtype.itemsize > storage.bytes:
        raise CheckpointError(
            f"{file} is damaged: a tensor of shape {shape} reaches beyond its data"
        )
    if count > max(span, REPEATED):
        raise CheckpointError(f"{file}: a tensor of shape {shape} repeats {span} numbers")
    read = partial(_read, storage, dtype, shape, stride, offset, span)
    return LazyTensor(file, dtype, shape, read)


def possible(shape: tuple[Any, ...]) -> bool:
    """Whether a tensor may be of that shape, its zeros aside."""
    if type(shape) is not tuple or len(shape) > AXES or not all(map(_natural, shape)):
        return False
    elements: int = math.prod(max(length, 1) for length in shape)
    return elements < LARGEST


def _natural(value: Any) -> bool:
    return type(value) is int and 0 <= value < LARGEST


def _read(
    storage: Storage,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    offset: int,
    span: int,
) -> Tensor:
    """Its values; `span` counts elements from the first to the last, those between included."""
    raw = torch.empty(span * dtype.itemsize, dtype=torch.uint8, device="cpu")
    if span:
        _fill(raw, storage.file, storage.start + offset * dtype.itemsize)
    shaped = torch.as_strided(raw.view(dtype), shape, stride)
    # What repeats its elements stays a view: its full size may be anything.
    return shaped.contiguous() if math.prod(shape) <= span else shaped


def _fill(raw: Tensor, file: Path, start: int) -> None:
    view = memoryview(raw.numpy())  # type: ignore[arg-type]
    try:
        with file.open("rb", buffering=0) as opened:
            opened.seek(start)
            while len(view):
                count = opened.readinto(view)  # at most 2 GiB at a time on Linux
                if not count:
                    raise CheckpointError(f"{file} is truncated")
                view = view[count:]
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror or error}") from None
