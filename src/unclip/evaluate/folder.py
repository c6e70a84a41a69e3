"""A folder of pictures with captions as a benchmark."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..data.listing import listing, pictures_in
from .benchmark import Benchmark, OnTask, Request
from .image_set import of_files


class Folder(Benchmark):
    """Pictures that are dealt into two halves: the reference, and the held-out ones.

    With `trained_on` the model's training pictures are known, and the folder is what it never saw.

    Raises:
        DataError: no pictures, no captions, or more than 1 % of them unreadable.
    """

    def __init__(self, request: Request, size: tuple[int, int], on_task: OnTask) -> None:
        path = request.data
        pairs = listing(path).pairs
        order = np.random.default_rng((request.seed, 5)).permutation(len(pairs))
        self.files = [(pairs[at][0], pairs[at][1][0]) for at in order]
        self.on_progress = lambda done, total: on_task("reading", done, total)
        half = min(request.sizes.pictures, len(self.files) // 2)
        whole = of_files(self.files[: 2 * half], size, self.on_progress)
        half = len(whole) // 2
        self.name, self.size = path.name, size
        self.hash = _hash(self.files)
        self.reference, self.held_out = whole.part(0, half), whole.part(half, 2 * half)
        self.more = f"half of what {path} holds"
        read = [(path, whole)]
        if request.trained_on is not None:
            self._split_pools(request, request.trained_on)
            assert self.trained is not None
            read.append((request.trained_on, self.trained))
        self.notes = [
            f"{one.skipped} of {one.skipped + len(one)} files of {where} could not be read"
            for where, one in read
            if one.skipped
        ]

    def _split_pools(self, request: Request, trained_on: Path) -> None:
        """As many pictures that training saw and that it did not."""
        files = pictures_in(trained_on)
        order = np.random.default_rng((request.seed, 6)).permutation(len(files))
        count = min(request.sizes.pool, len(files), len(self.files))
        chosen = [(files[at], "") for at in order[:count]]
        pools = [
            of_files(some, self.size, self.on_progress) for some in (chosen, self.files[:count])
        ]
        count = min(map(len, pools))
        self.trained, self.unseen = (pool.part(0, count) for pool in pools)

    @classmethod
    def fits(cls, path: Path) -> bool:
        """Any folder."""
        return True

    @classmethod
    def open(
        cls, request: Request, recipe: Mapping[str, Any], size: tuple[int, int], on_task: OnTask
    ) -> Self:
        """See `Benchmark.open`; the recipe changes nothing."""
        return cls(request, size, on_task)

    def lacks(self, part: str) -> str:
        """Pictures and captions are enough for most; memorisation needs the training pictures."""
        if part == "memorisation" and self.trained is None:
            return (
                "needs pictures that training saw and pictures that it did not; give the first as "
                "--trained-on DIR and keep --data for the others"
            )
        if part not in ("distribution", "diversity", "memorisation"):
            return "needs scenes whose content is known, and pictures of a folder are not (yet)"
        return ""


def _hash(files: list[tuple[Path, str]]) -> str:
    """Of the names and sizes of files."""
    total = hashlib.sha256()
    for file, _ in files:
        total.update(f"{file}:{file.stat().st_size}".encode())
    return total.hexdigest()[:12]


BENCHMARK = Folder
