"""Pieces of a batch that is larger than memory."""

from __future__ import annotations

from collections.abc import Iterator

from .loader import Batch


def pieces(size: int, micro_batch: int | None) -> Iterator[tuple[int, int]]:
    """(start, end) of each piece of a batch."""
    step = micro_batch or size
    return ((start, min(start + step, size)) for start in range(0, size, step))


def cut(batch: Batch, start: int, end: int) -> Batch:
    """Some of a batch's samples."""
    return {name: values[start:end] for name, values in batch.items()}
