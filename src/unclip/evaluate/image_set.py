"""Sets of images that are read or composed one by one, when they are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..data import IndexedSource
from ..data._picture import read_cropped
from ..errors import DataError
from ..media import from_arrays

Bytes = NDArray[np.uint8]
OnProgress = Callable[[int, int], None]

TINY = 32
"""Side of the images that `pixels` compares."""

UNREADABLE = 0.01
"""The share of unreadable files above which a folder is refused."""


@dataclass(frozen=True)
class ImageSet:
    """Images with captions."""

    count: int
    read: Callable[[int], Bytes]  # number -> (H, W, 3); the same image for the same number
    describe: Callable[[], Iterable[str]] = tuple  # captions, when they are first asked for
    skipped: int = 0  # files that could not be read

    def __len__(self) -> int:
        return self.count

    @cached_property
    def captions(self) -> tuple[str, ...]:
        """One an image; empty strings where there are none."""
        return tuple(self.describe()) or ("",) * self.count

    def tensor(self, numbers: Sequence[int]) -> Tensor:
        """(B, 3, H, W) float32 in [-1, 1]."""
        return from_arrays([self.read(number) for number in numbers])

    def batches(self, size: int, on_progress: OnProgress | None = None) -> Iterator[Tensor]:
        """All of them, in order."""
        for start in range(0, len(self), size):
            numbers = range(start, min(start + size, len(self)))
            yield self.tensor(numbers)
            if on_progress:
                on_progress(numbers.stop, len(self))

    def pictures(self, numbers: Iterable[int]) -> list[Image.Image]:
        """Some of them, to be shown."""
        return [Image.fromarray(self.read(number)) for number in numbers]

    def part(self, start: int, stop: int) -> ImageSet:
        """Images `start` to `stop`, as far as there are so many."""
        stop = min(stop, self.count)
        return replace(
            self,
            count=stop - start,
            read=lambda number: self.read(start + number),
            describe=lambda: self.captions[start:stop],
        )


def of_source(source: IndexedSource, count: int) -> ImageSet:
    """The first `count` samples of a stream."""
    return ImageSet(
        count, lambda number: source.sample(number)["image"], lambda: source.captions(count)
    )


def of_files(
    files: Sequence[tuple[Path, str]], size: tuple[int, int], on_progress: OnProgress | None = None
) -> ImageSet:
    """Files with captions, cropped to their middle at (height, width); each is tried once.

    Raises:
        DataError: more than 1 % of them cannot be read.
    """
    good: list[tuple[Path, str]] = []
    fault = ""
    for number, (path, caption) in enumerate(files):
        try:
            read_cropped(path, size)
            good.append((path, caption))
        except DataError as error:
            fault = fault or str(error)
        if on_progress:
            on_progress(number + 1, len(files))
    skipped = len(files) - len(good)
    if skipped > UNREADABLE * len(files):
        raise DataError(
            f"{skipped} of {len(files):,} pictures cannot be read, more than 1 %; "
            f"the first: {fault}"
        )
    return ImageSet(
        len(good),
        lambda number: read_cropped(good[number][0], size),
        lambda: [caption for _, caption in good],
        skipped,
    )


def pixels(images: ImageSet, on_progress: OnProgress | None = None) -> Tensor:
    """(N, 3072) float64: every image at 32x32, averaged, in [-1, 1]."""
    found = [torch.zeros(0, 3 * TINY * TINY, dtype=torch.float64)]
    for batch in images.batches(64, on_progress):
        if batch.shape[-1] != TINY:
            batch = F.interpolate(batch, (TINY, TINY), mode="area")
        found.append(batch.flatten(1).double())
    return torch.cat(found)
