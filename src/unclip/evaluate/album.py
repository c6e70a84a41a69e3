"""Sets of pictures that are read or composed one by one, however many they are."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..data._picture import read_square
from ..data.emoji import EmojiScenes
from ..data.listing import pictures_in as listed
from ..errors import DataError
from ..media import SUFFIXES, from_arrays

Bytes = NDArray[np.uint8]
OnProgress = Callable[[int, int], None]

TINY = 32
"""Side of the pictures that `pixels` compares."""

UNREADABLE = 0.01
"""The share of unreadable files above which a folder is refused."""


@dataclass(frozen=True)
class Album:
    """Pictures with captions.

    Args:
        captions: one a picture, empty strings where there are none.
        read: number -> (H, W, 3) uint8; the same picture for the same number.
        specs: what each shows, where that is known.
        skipped: files that could not be read.
    """

    captions: Sequence[str]
    read: Callable[[int], Bytes]
    specs: Sequence[dict[str, Any]] | None = None
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.captions)

    def tensor(self, numbers: Sequence[int]) -> Tensor:
        """(B, 3, H, W) float32 in [-1, 1]."""
        return from_arrays([self.read(number) for number in numbers])

    def batches(self, size: int) -> Iterator[Tensor]:
        """All of them, in order."""
        for start in range(0, len(self), size):
            yield self.tensor(range(start, min(start + size, len(self))))

    def picture(self, number: int) -> Image.Image:
        """One of them."""
        return Image.fromarray(self.read(number))

    def first(self, count: int) -> Album:
        """The first `count`."""
        specs = self.specs[:count] if self.specs is not None else None
        return Album(self.captions[:count], self.read, specs, self.skipped)


class _Scenes:
    """Scenes of a corpus from a position on, composed when they are first asked for."""

    def __init__(self, source: EmojiScenes, count: int, start: int) -> None:
        self.source, self.count, self.start = source, count, start

    @cached_property
    def samples(self) -> list[dict[str, Any]]:
        """Captions and specifications; their pictures are next to nothing."""
        brief = copy.copy(self.source)
        brief.size = 8
        return [dict(brief.sample(self.start + number)) for number in range(self.count)]

    def picture(self, number: int) -> Bytes:
        """One of them, painted at the source's size."""
        return self.source.render(self.samples[number]["spec"], self.source.size)


class _Told(Sequence[Any]):
    """One thing that every scene tells. How many there are is known without composing them."""

    def __init__(self, scenes: _Scenes, what: str) -> None:
        self.scenes, self.what = scenes, what

    def __len__(self) -> int:
        return self.scenes.count

    @overload
    def __getitem__(self, at: int) -> Any: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Any, ...]: ...
    def __getitem__(self, at: int | slice) -> Any:
        if isinstance(at, slice):
            return tuple(one[self.what] for one in self.scenes.samples[at])
        return self.scenes.samples[at][self.what]


def of_scenes(source: EmojiScenes, count: int, start: int = 0) -> Album:
    """`count` scenes from position `start`, composed and painted when they are looked at."""
    scenes = _Scenes(source, count, start)
    return Album(_Told(scenes, "caption"), scenes.picture, _Told(scenes, "spec"))


def of_files(
    files: Sequence[tuple[Path, str]], side: int, on_progress: OnProgress | None = None
) -> Album:
    """Files with captions, cropped to their middle square of `side`; each is tried once.

    Raises:
        DataError: there are none, or more than 1 % of them cannot be read.
    """
    good: list[tuple[Path, str]] = []
    fault = ""
    for number, (path, caption) in enumerate(files):
        try:
            read_square(path, side)
            good.append((path, caption))
        except DataError as error:
            fault = fault or str(error)
        if on_progress:
            on_progress(number + 1, len(files))
    skipped = len(files) - len(good)
    if skipped > UNREADABLE * len(files):
        raise DataError(
            f"{skipped} of {len(files)} pictures cannot be read, more than 1 %; the first: {fault}"
        )
    captions = tuple(caption for _, caption in good)
    return Album(captions, partial(_file, [path for path, _ in good], side), skipped=skipped)


def _file(paths: list[Path], side: int, number: int) -> Bytes:
    return read_square(paths[number], side)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder, with captions or without. Raises DataError where there are none."""
    if not folder.is_dir():
        raise DataError(f"no folder of pictures at {folder}")
    found = listed(folder)
    if not found:
        raise DataError(f"{folder} holds no pictures (looked for {', '.join(SUFFIXES)})")
    return found


def of_arrays(pictures: Sequence[Bytes], captions: Sequence[str] = ()) -> Album:
    """Pictures in memory."""
    words = tuple(captions) or ("",) * len(pictures)
    return Album(words, lambda number: pictures[number])


def pixels(album: Album, on_progress: OnProgress | None = None) -> Tensor:
    """(N, 3072) float64: every picture at 32x32, averaged, in [-1, 1]."""
    found: list[Tensor] = []
    for batch in album.batches(64):
        small = (
            batch if batch.shape[-1] == TINY else F.interpolate(batch, (TINY, TINY), mode="area")
        )
        found.append(small.flatten(1).double())
        if on_progress:
            on_progress(min(64 * len(found), len(album)), len(album))
    return torch.cat(found) if found else torch.zeros(0, 3 * TINY * TINY, dtype=torch.float64)
