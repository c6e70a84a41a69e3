"""Retention: old jobs, their pictures and files without a name are removed, a few at a time."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, func, select

from .files import remove
from .kept import Kept, parts
from .tables import collected, inputs, jobs, pictures, tags

DAY = 24 * 3600.0
UNDO = 7 * DAY
"""Seconds in which a deletion can be undone, and after which a file without a name is removed.

The files of a database that was moved away wait as long for it to come back.
"""
UNUSED = DAY
"""Seconds after which an input that no job names is removed."""

_BATCH = 100  # jobs or pictures of one transaction: some ten milliseconds
_PAUSE = 0.005  # seconds between two, in which others write
_OURS = re.compile(r"[0-9a-f]{32}\.[a-z]+|[0-9a-f]{64}|\..+\.part")

_MARKED = (
    pictures.c.favourite
    | exists().where(collected.c.picture == pictures.c.number)
    | exists().where(tags.c.picture == pictures.c.number)
) & (pictures.c.deleted == 0)


@dataclass(frozen=True)
class Pruned:
    """How many jobs, pictures of jobs, and files without a name were removed; `bytes` are left."""

    jobs: int = 0
    pictures: int = 0
    files: int = 0
    bytes: int = 0


class History(Kept):
    """Removes what is old. Pictures that are favourites, tagged or in a collection stay."""

    def prune(self, older_than: float | None, most_bytes: int | None, undo: float = UNDO) -> Pruned:
        """Remove what retention does not keep; others read and write meanwhile.

        Args:
            older_than: seconds since jobs ended, after which they go; None: never.
            most_bytes: of pictures and inputs, beyond which the oldest go; None: no limit.
            undo: seconds since pictures were deleted, after which they go.

        Raises:
            OutputError: the disk is full or read-only, or the database is damaged or locked.
        """
        gone_pictures = self._purge_deleted(undo)
        gone_jobs = 0
        if older_than is not None:
            gone = self._prune_jobs(older_than=older_than)
            gone_jobs, gone_pictures = gone_jobs + gone[0], gone_pictures + gone[1]
        if most_bytes is not None:
            gone = self._prune_jobs(most_bytes=most_bytes)
            gone_jobs, gone_pictures = gone_jobs + gone[0], gone_pictures + gone[1]
        files = self._sweep(self._files.pictures, self._files.placing, _named_pictures, undo)
        files += self._sweep(self._files.inputs, self._files.taking, _named_inputs, UNUSED)
        return Pruned(gone_jobs, gone_pictures, files, self.size())

    def size(self) -> int:
        """Bytes of all pictures, and of the inputs of all jobs."""
        once = select(inputs.c.digest, inputs.c.bytes).distinct().subquery()
        both = [select(func.coalesce(func.sum(table.c.bytes), 0)) for table in (pictures, once)]
        with self._db.read() as connection:
            return sum(connection.execute(query).scalar_one() for query in both)

    def _purge_deleted(self, undo: float) -> int:
        total = 0
        old = (pictures.c.deleted > 0) & (pictures.c.deleted < self._now() - undo)
        while True:
            with self._db.write() as connection:
                batch = select(pictures.c.number).where(old).limit(_BATCH)
                numbers = connection.execute(batch).scalars().all()
                paths = self._delete(connection, pictures.c.number.in_(numbers))
            remove(paths)
            total += len(numbers)
            if len(numbers) < _BATCH:
                return total
            time.sleep(_PAUSE)

    def _prune_jobs(
        self, older_than: float | None = None, most_bytes: int | None = None
    ) -> tuple[int, int]:
        """Remove jobs by age or by size, the oldest first. How many, and of their pictures."""
        total, removed, last = 0, 0, (0.0, 0)
        limit = self._now() if older_than is None else self._now() - older_than
        while True:
            excess = None if most_bytes is None else self.size() - most_bytes
            if excess is not None and excess <= 0:
                return total, removed
            with self._db.write() as connection:
                rows = _oldest(connection, last, limit)
                numbers = _enough(connection, [row.number for row in rows], excess)
                these = jobs.c.number.in_(numbers)
                paths = self._delete(connection, pictures.c.job.in_(numbers) & ~_MARKED)
                empty = these & ~exists().where(pictures.c.job == jobs.c.number)
                total += connection.execute(delete(jobs).where(empty)).rowcount
            remove(paths)
            removed += len(paths)
            if not numbers:
                return total, removed
            last = next((row.finished, row.number) for row in rows if row.number == numbers[-1])
            time.sleep(_PAUSE)

    def _delete(self, connection: Connection, which: ColumnElement[bool]) -> list[Path]:
        """Delete rows of pictures. The files, to be removed once that is on the disk."""
        query = delete(pictures).where(which).returning(pictures.c.id, pictures.c.format)
        return [self._files.picture(row.id, row.format) for row in connection.execute(query)]

    def _sweep(self, folder: Path, lock: RLock, named: Any, age: float) -> int:
        """Remove files of ours that no row names and that are old. How many."""
        total, limit = 0, self._now() - age
        for place in sorted(filter(Path.is_dir, folder.iterdir())):
            for names in parts(sorted(filter(_OURS.fullmatch, os.listdir(place))), _BATCH):
                with lock:
                    with self._db.read() as connection:
                        unnamed = set(names) - named(connection, names)
                    old = [place / name for name in unnamed if _age(place / name) < limit]
                    remove(old)
                total += len(old)
        return total


def _age(path: Path) -> float:
    """When a file was last changed; never, if it is no longer there."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _oldest(connection: Connection, last: tuple[float, int], limit: float) -> Sequence[Any]:
    """Ended jobs that ended by `limit`, in order, behind the last one."""
    columns = jobs.c
    behind = (columns.finished > last[0]) | (
        (columns.finished == last[0]) & (columns.number > last[1])
    )
    query = select(columns.number, columns.finished).where(
        behind, columns.finished >= last[0], columns.finished > 0, columns.finished <= limit
    )
    return connection.execute(query.order_by(columns.finished, columns.number).limit(_BATCH)).all()


def _enough(connection: Connection, numbers: list[int], excess: int | None) -> list[int]:
    """The first jobs, as many as free `excess` bytes; all where that is None."""
    if excess is None:
        return numbers
    freed: dict[int, int] = dict.fromkeys(numbers, 0)
    loose = select(pictures.c.job, func.sum(pictures.c.bytes)).where(~_MARKED)
    read = select(inputs.c.job, func.sum(inputs.c.bytes))
    for query, job in ((loose, pictures.c.job), (read, inputs.c.job)):
        for number, size in connection.execute(query.where(job.in_(numbers)).group_by(job)):
            freed[number] += size
    chosen = []
    for number in numbers:
        if excess <= 0:
            break
        chosen.append(number)
        excess -= freed[number]
    return chosen


def _named_pictures(connection: Connection, names: Sequence[str]) -> set[str]:
    ids = [name.partition(".")[0] for name in names]
    query = select(pictures.c.id, pictures.c.format).where(pictures.c.id.in_(ids))
    return {f"{row.id}.{row.format}" for row in connection.execute(query)}


def _named_inputs(connection: Connection, names: Sequence[str]) -> set[str]:
    query = select(inputs.c.digest).where(inputs.c.digest.in_(names))
    return set(connection.execute(query).scalars())
