"""Ends of jobs that the store could not take: told from memory, and stored as soon as it can."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from types import MappingProxyType

from ..errors import UnclipError
from .job import Failure, Job
from .store import Store

_log = logging.getLogger(__name__)

HELD = 16
"""Jobs whose pictures are kept in memory."""
AGAIN = 5.0
"""Seconds before it is tried again to store them."""

_NOT_KEPT = Failure("not_kept", "its pictures were drawn, but the disk had no room to keep them")


class Held:
    """Jobs that have ended, but run on as far as the store knows.

    Were they not stored, the next start of the server would draw them again.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._jobs: dict[str, Job] = {}
        self._files: dict[str, dict[str, bytes]] = {}  # of the last `HELD` jobs
        self._storing: asyncio.Task[None] | None = None

    def add(self, ended: Job, files: Mapping[str, bytes] = MappingProxyType({})) -> None:
        """Keep the end of a job, with the files of its pictures by their ids."""
        self._jobs[ended.id], self._files[ended.id] = ended, dict(files)
        for old in list(self._files)[:-HELD]:
            del self._files[old]
        if self._storing is None or self._storing.done():
            self._storing = asyncio.create_task(self._store_later())

    def job(self, id: str) -> Job | None:
        """A job as it ended."""
        return self._jobs.get(id)

    def file(self, picture: str) -> bytes | None:
        """The file of a picture."""
        return next((one[picture] for one in self._files.values() if picture in one), None)

    async def _store_later(self) -> None:
        while self._jobs:
            await asyncio.sleep(AGAIN)
            await self.store()

    async def store(self) -> None:
        """Store what can be, the oldest first, up to the first that cannot."""
        for id, job in list(self._jobs.items()):
            try:
                await asyncio.to_thread(self._end, job)
            except UnclipError as error:
                _log.error("the end of job %s cannot be stored yet: %s", id, error)
                return
            del self._jobs[id]
            self._files.pop(id, None)

    def _end(self, job: Job) -> None:
        files = self._files.get(job.id)
        if job.failure is not None:
            self._store.fail(job.id, job.failure)
        elif files is None:  # it was too long ago
            self._store.fail(job.id, _NOT_KEPT)
        else:
            self._store.finish(job.id, [(one, files[one.id]) for one in job.pictures])

    async def close(self) -> None:
        """Try once more."""
        if self._storing is not None:
            self._storing.cancel()
        await self.store()
