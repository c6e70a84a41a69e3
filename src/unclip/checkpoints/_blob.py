"""Tensors that still lie in a file: where their bytes are, how they are laid out, how to read them.

Bytes are read with plain seeks, never mapped: reading a large file tensor by tensor then keeps
nothing of it in this process, and a file that shrinks meanwhile is an error, not a crash.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
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
class Blob:
    """A tensor in a file. `offset` and `stride` count elements of `dtype`."""

    storage: Storage
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int = 0

    def __post_init__(self) -> None:
        numbers = (*self.shape, *self.stride, self.offset)
        if len(self.shape) != len(self.stride) or not possible(numbers, self.shape):
            raise CheckpointError(f"{self.file} is damaged: a tensor's layout is impossible")
        end = (self.offset + self._span) * self.dtype.itemsize
        if self.numel and end > self.storage.bytes:
            raise CheckpointError(
                f"{self.file} is damaged: a tensor of shape {self.shape} reaches beyond its data"
            )
        if self.numel > max(self._span, REPEATED):
            raise CheckpointError(
                f"{self.file}: a tensor of shape {self.shape} repeats {self._span} numbers"
            )

    @property
    def file(self) -> Path:
        """Where it lies."""
        return self.storage.file

    @property
    def numel(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def _span(self) -> int:
        """Elements from the first to the last, those between that are not its own included."""
        if self.numel == 0:
            return 0
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))

    def rows(self, start: int, stop: int) -> Blob:
        """The part [start:stop] of its first axis."""
        first, *rest = self.shape
        start, stop, _ = slice(start, stop).indices(first)
        count = max(stop - start, 0)
        offset = self.offset + (start * self.stride[0] if count else 0)
        return replace(self, shape=(count, *rest), offset=offset)

    def read(self) -> Tensor:
        """Its values, on the CPU, in memory of their own.

        Raises:
            CheckpointError: the file cannot be read, or has become shorter.
        """
        size = self.dtype.itemsize
        raw = torch.empty(self._span * size, dtype=torch.uint8, device="cpu")
        if raw.numel():
            _read(self.file, self.storage.start + self.offset * size, raw)
        flat = raw.view(self.dtype)
        shaped = torch.as_strided(flat, self.shape, self.stride)
        # What repeats its elements stays a view: its full size may be anything.
        return shaped.contiguous() if self.numel <= flat.numel() else shaped


def packed(storage: Storage, dtype: torch.dtype, shape: tuple[int, ...]) -> Blob:
    """A tensor that fills its storage in row-major order. Raises ValueError for no shape."""
    if not possible(shape, shape):
        raise ValueError(f"a shape of {len(shape)} axes whose layout is impossible")
    strides = [1]
    for length in reversed(shape[1:]):
        strides.append(strides[-1] * max(length, 1))
    return Blob(storage, dtype, shape, tuple(reversed(strides[: len(shape)])))


def _read(file: Path, start: int, into: Tensor) -> None:
    view = memoryview(into.numpy())  # type: ignore[arg-type]
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


def possible(numbers: tuple[Any, ...], shape: tuple[Any, ...]) -> bool:
    """Whether these are whole numbers, and a tensor may be of that shape, its zeros aside."""
    if len(shape) > AXES or not all(map(_natural, numbers)):
        return False
    elements: int = math.prod(max(length, 1) for length in shape)
    return elements < LARGEST


def _natural(value: Any) -> bool:
    return type(value) is int and 0 <= value < LARGEST
