"""The store, and memory for what it cannot take: the disk is full, or read-only.

What has ended is told from memory, and stored as soon as that is possible: were it not, the next
start of the server would draw it again. A request whose answer has the pictures in it is drawn from
memory alone where it cannot be stored; it is lost if the server ends before its answer.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..errors import OutputError, UnclipError
from .job import Drawn, Failure, Job, Spec
from .queue import DEATHS, DIED
from .store import Room, Store

_log = logging.getLogger(__name__)

HELD = 16
"""Jobs whose pictures are kept in memory, and that wait in memory alone."""
AGAIN = 5.0
"""Seconds before it is tried again to store what has ended."""

_NOT_KEPT = Failure("not_kept", "its pictures were drawn, but the disk had no room to keep them")
_thread = asyncio.to_thread


class Keeper:
    """Jobs from when they are accepted until they have ended; see `Queue` for the same in a file.

    Args:
        store: keeps them, where it can.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ended: dict[str, Job] = {}  # that run on as far as the store knows
        self._files: dict[str, dict[str, bytes]] = {}  # of the last jobs that are not stored
        self._waiting: dict[str, Job] = {}  # in memory alone
        self._loose: dict[str, Job] = {}  # these and those that run
        self._storing: asyncio.Task[None] | None = None

    @property
    def has_loose(self) -> bool:
        """Whether any wait in memory alone."""
        return bool(self._waiting)

    def is_kept(self, id: str) -> bool:
        """Whether a job and its pictures are stored, as far as it has come."""
        return id not in self._loose and id not in self._files

    async def add(
        self, owner: str, spec: Spec, room: Room, fingerprint: str, loose: bool = False
    ) -> Job:
        """See `Queue.add`; `loose`: in memory alone, where the store cannot take it."""
        try:
            return await _thread(self._store.add, owner, spec, room, fingerprint)
        except OutputError as error:
            if not loose or spec.inputs or len(self._loose) >= HELD:
                raise
            job = Job(secrets.token_hex(16), owner, spec, "queued", time.time())
            _log.error("job %s cannot be stored and is drawn from memory: %s", job.id, error)
            self._waiting[job.id] = self._loose[job.id] = job
            return job

    async def lease(self, most: int) -> list[Job]:
        """See `Queue.lease`; those in memory alone come first."""
        if not self._waiting:
            return await _thread(self._store.lease, most)
        now, chosen, pictures = time.time(), list[Job](), 0
        for job in list(self._waiting.values()):
            first = chosen[0].spec if chosen else job.spec
            alike = bool(first.batch) and job.spec.batch == first.batch
            if not chosen or (alike and pictures + job.spec.pictures <= most):
                del self._waiting[job.id]
                chosen.append(replace(job, state="running", started=now))
                pictures += job.spec.pictures
        return chosen

    async def finish(self, job: Job, made: Sequence[tuple[Drawn, bytes]]) -> Job | None:
        """See `Queue.finish`; what cannot be stored is kept here."""
        files = {one.id: data for one, data in made}
        ended = replace(
            job, state="done", finished=time.time(), pictures=tuple(one for one, _ in made)
        )
        if self._loose.pop(job.id, None) is not None:
            self._keep_files(job.id, files)
            return ended
        try:
            return await _thread(self._store.finish, job.id, made)
        except UnclipError as error:
            _log.error("the pictures of job %s cannot be kept: %s", job.id, error)
            self._keep_files(job.id, files)
            self._hold(ended)
            return ended

    async def fail(self, job: Job, failure: Failure) -> Job:
        """See `Queue.fail`."""
        ended = replace(job, state="failed", finished=time.time(), failure=failure)
        if self._loose.pop(job.id, None) is None:
            try:
                await _thread(self._store.fail, job.id, failure)
            except UnclipError as error:
                _log.error("the failure of job %s cannot be kept: %s", job.id, error)
                self._hold(ended)
        return ended

    async def cancel(self, id: str, owner: str | None) -> bool:
        """See `Queue.cancel`."""
        job = self._loose.get(id)
        if job is None:
            return await _thread(self._store.cancel, id, owner)
        if owner not in (None, job.owner):
            return False
        self._waiting.pop(id, None)
        return self._loose.pop(id, None) is not None

    async def release(self, ids: Sequence[str]) -> list[Job]:
        """See `Queue.release`: their worker has died."""
        stored = [one for one in ids if one not in self._loose]
        released = await _thread(self._store.release, stored, True) if stored else []
        for job in [self._loose[one] for one in ids if one in self._loose]:
            again = replace(job, deaths=job.deaths + 1)
            if again.deaths < DEATHS:
                self._waiting[job.id] = self._loose[job.id] = again
            else:
                del self._loose[job.id]
                again = replace(again, state="failed", failure=DIED)
            released.append(again)
        return released

    def job(self, id: str) -> Job | None:
        """A job that has ended and is not stored."""
        return self._ended.get(id)

    async def read(self, drawn: Drawn) -> bytes:
        """The file of a picture, also of one that was deleted and can be restored.

        Raises:
            FileNotFoundError: it is not there any more.
        """
        for files in self._files.values():
            if drawn.id in files:
                return files[drawn.id]
        return await _thread(self._store.file_of(drawn).read_bytes)

    def _keep_files(self, id: str, files: Mapping[str, bytes]) -> None:
        self._files[id] = dict(files)
        for old in list(self._files)[:-HELD]:
            del self._files[old]

    def _hold(self, ended: Job) -> None:
        self._ended[ended.id] = ended
        if self._storing is None or self._storing.done():
            self._storing = asyncio.create_task(self._store_later())

    async def _store_later(self) -> None:
        while self._ended:
            await asyncio.sleep(AGAIN)
            await self._store_ended()

    async def _store_ended(self) -> None:
        """Store what can be, the oldest first, up to the first that cannot."""
        for id, job in list(self._ended.items()):
            try:
                await _thread(self._end, job)
            except UnclipError as error:
                _log.error("the end of job %s cannot be stored yet: %s", id, error)
                return
            del self._ended[id]
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
        await self._store_ended()
