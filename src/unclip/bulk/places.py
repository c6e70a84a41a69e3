"""Where the pictures of many jobs go, and which of them are there already."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count as numbers
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .jobs import Job
from .layout import called
from .names import numbered

if TYPE_CHECKING:
    from ..cost import Cost
    from ..facade import Pipeline
    from .manifest import Entry, Manifest


@dataclass(frozen=True)
class Place:
    """A job, the entries of its pictures, and which of them are there."""

    job: Job
    entries: Sequence[Entry]
    there: Sequence[bool]
    cost: Cost | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing is left of it."""
        return all(self.there)


def places_of(jobs: Sequence[Job], suffix: str, manifest: Manifest, pipe: Pipeline) -> list[Place]:
    """Where each picture goes: files that are there are left alone, unless they were named."""
    taken: dict[str, str] = {}
    places = []
    for job in jobs:
        job = replace(job, layout=called(job.layout, pipe.name))
        try:
            pairs = [
                _place(job, index, name, suffix, manifest, pipe.hash, taken)
                for index, name in enumerate(job.names())
            ]
        except UsageError as error:
            raise job.blame(error) from None
        places.append(Place(job, [one for one, _ in pairs], [there for _, there in pairs]))
    return places


def _place(
    job: Job,
    index: int,
    name: str,
    suffix: str,
    manifest: Manifest,
    model_hash: str,
    taken: dict[str, str],
) -> tuple[Entry, bool]:
    """The entry of a picture, and whether the picture is there. Raises UsageError."""
    from .manifest import Entry

    request, named = job.request, bool(job.row.output)
    seed = request.seed + (0 if request.one_seed else index)
    wanted = replace(request.record(), seed=seed, model_hash=model_hash)
    suffix = Path(job.row.output).suffix if named else suffix
    for number in numbers(1):
        path = numbered(manifest.folder / f"{name}{suffix}", number)
        file = str(path.relative_to(manifest.folder))
        if file in taken:
            if named:
                raise UsageError(f"output '{file}' is that of {taken[file]} too").about("output")
            continue
        entry = Entry(file, wanted, job.row.line, job.sources, job.any_seed)
        there = manifest.has(entry) or manifest.finds(entry)
        if there or named or not os.path.lexists(path):
            taken[file] = job.row.where
            return entry, there
    raise AssertionError("numbers do not end")
