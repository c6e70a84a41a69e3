"""The durable queue: jobs from when they are accepted until they have ended."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Select,
    false,
    func,
    insert,
    select,
    true,
    update,
)

from ..errors import UnclipError, counted
from .fair import Waiting, choose, place
from .files import remove
from .job import Drawn, Failure, Job, Spec, State
from .kept import Kept, drawn_of, spec_of, storable, words_of
from .tables import inputs, jobs, pictures

DEATHS = 2
"""Workers that may die over a job; it fails with the last."""
INTERRUPTIONS = 10
"""Starts of the server that may find a job half done; it fails with the last.

Many more than `DEATHS`: whoever restarts the server means no harm to the job. A job that takes the
whole machine down ends up here.
"""

_ALIVE = jobs.c.state.in_(["queued", "running"])
DIED = Failure("worker_died", f"its worker process died {DEATHS} times while it drew this")
_INTERRUPTED = Failure(
    "worker_died", f"the server ended {INTERRUPTIONS} times while this was being drawn"
)


class QueueFull(UnclipError):
    """As many jobs wait as may; try again later."""

    def __init__(self, waiting: int) -> None:
        super().__init__(f"the queue is full: {counted(waiting, 'job')} wait; try again later")
        self.waiting = waiting


@dataclass(frozen=True)
class Room:
    """When the queue takes a job, and when it need not.

    Args:
        all: most jobs that wait.
        each: most of them that are one owner's; None: all.
        joins: None, or the job may be an equal one that lives or is one of these, by id.
    """

    all: int
    each: int | None = None
    joins: frozenset[str] | None = None


class Queue(Kept):
    """Jobs. What was running when the process ended is queued again.

    Every method is safe in any thread, and raises OutputError where the disk is full or read-only,
    or the database is damaged or locked by another program.
    """

    def __init__(self, folder: Path, *now: Callable[[], float]) -> None:
        super().__init__(folder, *now)
        self._turns: dict[str, int] = {}  # owner -> number of their last turn
        try:
            with self._db.write() as connection:
                running = jobs.c.state == "running"
                self._give_back(connection, running, jobs.c.interrupted, INTERRUPTIONS)
        except BaseException:
            self.close()
            raise

    def put_input(self, data: bytes) -> str:
        """Store a picture that jobs may read, for a day at least. Returns its digest."""
        return self._files.put(data)

    def has_input(self, data: bytes) -> bool:
        """Whether this picture is stored already, whoever brought it."""
        return self._files.input(hashlib.sha256(data).hexdigest()).is_file()

    def input_path(self, digest: str) -> Path:
        """Where a stored picture is, if it is there. Raises UsageError for what is no digest."""
        return self._files.input(digest)

    def check_room(self, owner: str, room: Room, fingerprint: str = "") -> None:
        """Raise QueueFull where `add` would now."""
        with self._db.read() as connection:
            if not _same(connection, owner, room, fingerprint):
                _check_room(connection, owner, room)

    def add(self, owner: str, spec: Spec, room: Room | int, fingerprint: str = "") -> Job:
        """Accept a job: when this returns it is on the disk.

        Args:
            owner: whose it is.
            spec: what it draws.
            room: how many may wait, this one included; and whether the owner's newest equal job is
                given instead.
            fingerprint: what equal requests have in common.

        Raises:
            QueueFull: as many wait already.
            UsageError: an input is not stored.
        """
        owner = storable(owner)
        sizes = {digest: self._files.claim(digest) for digest in set(spec.inputs.values())}
        id, created = secrets.token_hex(16), self._now()
        values = {
            "id": id,
            "owner": owner,
            "state": "queued",
            "created": created,
            "model": storable(spec.model),
            "batch": _digest(spec.model, spec.batch) if spec.batch else "",
            "pictures": spec.pictures,
            "fingerprint": storable(fingerprint),
            "spec": spec.to_json(),
        }
        with self._db.write() as connection:
            room = Room(room) if isinstance(room, int) else room
            for job in _same(connection, owner, room, fingerprint):
                return job
            _check_room(connection, owner, room)
            number = connection.execute(insert(jobs).returning(jobs.c.number), values).scalar_one()
            rows = [{"job": number, "digest": one, "bytes": size} for one, size in sizes.items()]
            if rows:
                connection.execute(insert(inputs), rows)
        return Job(id, owner, Spec.of(spec.to_json()), "queued", created)

    def job(self, id: str, owner: str | None = None) -> Job | None:
        """A job; None if it is not there, or not this owner's."""
        with self._db.read() as connection:
            found = _read(connection, _jobs((jobs.c.id == id) & _of(owner)))
        return found[0] if found else None

    def jobs(
        self, owner: str, state: State | None = None, limit: int = 50, before: str | None = None
    ) -> list[Job]:
        """An owner's jobs, the newest first.

        Args:
            owner: whose.
            state: only those.
            limit: most of them.
            before: id of the last one of the page before.
        """
        query = _jobs(_of(owner)).order_by(jobs.c.number.desc()).limit(limit)
        if state is not None:
            query = query.where(jobs.c.state == state)
        if before is not None:
            last = select(jobs.c.number).where((jobs.c.id == before) & _of(owner))
            query = query.where(jobs.c.number < last.scalar_subquery())
        with self._db.read() as connection:
            return _read(connection, query)

    def current(self, owner: str, since: float, limit: int) -> list[Job]:
        """An owner's jobs that have not ended, or ended after a time; the newest first.

        Args:
            since: in seconds since 1970.
            limit: most of them; of more, those that run and the newest.
        """
        now, recent = _of(owner) & _ALIVE, _of(owner) & (jobs.c.finished > since)
        running = jobs.c.state == "running"
        newest = [jobs.c.number.desc()]
        with self._db.read() as connection:
            found = _read(connection, _jobs(now).order_by(running.desc(), *newest).limit(limit))
            found += _read(connection, _jobs(recent).order_by(*newest).limit(limit))
        return sorted(found[:limit], key=lambda job: -job.created)

    def lease(self, most: int, models: Sequence[str] | None = None) -> list[Job]:
        """Take the next job to draw, and those that its batch can draw with it; they are running.

        Owners take turns (`fair.py`). A job over which a worker has died, or that two starts have
        found half done, is taken alone.

        Args:
            most: pictures of a batch; a job of more is taken alone.
            models: only jobs of these.
        """
        with self._db.write() as connection:
            chosen = choose(_waiting(connection, models), self._turns, most)
            if not chosen:
                return []
            self._turns[chosen[0].owner] = max(self._turns.values(), default=0) + 1
            numbers = [one.number for one in chosen]
            taken = jobs.c.number.in_(numbers)
            values = {"state": "running", "started": self._now()}
            connection.execute(update(jobs).where(taken).values(values))
            rows = connection.execute(_jobs(taken)).all()
            leased = {row.number: _job(row, []) for row in rows}
        return [leased[number] for number in numbers]

    def finish(self, id: str, drawn: Sequence[tuple[Drawn, bytes]]) -> Job | None:
        """End a running job with its pictures and the bytes of their files.

        If the job is not running (it was cancelled, or has ended), it stays as it is, and nothing
        is kept. After an error the job runs on.

        Returns:
            The job; None if it stays as it is.

        Raises:
            OutputError: the files or the database cannot be written.
        """
        with self._files.placing:
            job = self.job(id)
            if job is not None:
                job = self._finish(job, drawn) if job.state == "running" else None
        return job

    def _finish(self, job: Job, drawn: Sequence[tuple[Drawn, bytes]]) -> Job | None:
        now = self._now()
        placed = {one.id: self._files.picture(one.id, one.format) for one, _ in drawn}
        try:
            for one, data in drawn:
                self._files.place(data, placed[one.id])
            ended = self._end(job, [one for one, _ in drawn], now)
        except UnclipError:  # the disk may be full: leave it the room
            remove(placed.values())
            raise
        if not ended:  # cancelled just now
            remove(placed.values())
            return None
        return replace(job, state="done", finished=now, pictures=tuple(one for one, _ in drawn))

    def _end(self, job: Job, drawn: Sequence[Drawn], now: float) -> bool:
        """Name a job's pictures in the database. False if it no longer runs."""
        running = (jobs.c.id == job.id) & (jobs.c.state == "running")
        values = {"state": "done", "finished": now}
        with self._db.write() as connection:
            change = update(jobs).where(running).values(values).returning(jobs.c.number)
            number = connection.execute(change).scalar()
            if number is not None and drawn:
                same = {"job": number, "owner": job.owner, "words": words_of(job.spec.fields)}
                rows = [{**same, **_row(one), "created": now} for one in drawn]
                connection.execute(insert(pictures), rows)
        return number is not None

    def fail(self, id: str, failure: Failure) -> Job | None:
        """End a job with its reason. None if it has ended already; it then stays as it is."""
        values = {"state": "failed", "finished": self._now(), "failure": asdict(failure)}
        with self._db.write() as connection:
            change = update(jobs).where((jobs.c.id == id) & _ALIVE).values(values)
            changed = connection.execute(change).rowcount
        return self.job(id) if changed else None

    def cancel(self, id: str, owner: str | None = None) -> bool:
        """End a job that waits or runs. False if it has ended, or is not this owner's."""
        mine = (jobs.c.id == id) & _ALIVE & _of(owner)
        values = {"state": "cancelled", "finished": self._now()}
        with self._db.write() as connection:
            return connection.execute(update(jobs).where(mine).values(values)).rowcount > 0

    def release(self, ids: Sequence[str], died: bool) -> list[Job]:
        """Put running jobs back to where they waited.

        Args:
            ids: of jobs; those that do not run stay as they are.
            died: the worker that drew them is dead. A job's second death fails it.

        Returns:
            Those that ran, queued or failed now.
        """
        with self._db.write() as connection:
            running = jobs.c.id.in_(list(ids)) & (jobs.c.state == "running")
            numbers = connection.execute(select(jobs.c.number).where(running)).scalars().all()
            taken = jobs.c.number.in_(numbers)
            self._give_back(connection, taken, jobs.c.deaths if died else None, DEATHS)
            return _read(connection, _jobs(taken).order_by(jobs.c.number))

    def _give_back(
        self,
        connection: Connection,
        which: ColumnElement[bool],
        counter: Column[Any] | None,
        most: int,
    ) -> None:
        """Queue jobs again, but those whose counter comes to `most`, which fail."""
        if counter is not None:
            connection.execute(update(jobs).where(which).values({counter: counter + 1}))
            reason = asdict(DIED if counter is jobs.c.deaths else _INTERRUPTED)
            values = {"state": "failed", "finished": self._now(), "failure": reason}
            connection.execute(update(jobs).where(which & (counter >= most)).values(values))
        back = which & (jobs.c.state == "running")
        connection.execute(update(jobs).where(back).values(state="queued", started=0))

    def place(self, id: str) -> int:
        """How many queued jobs come before a queued one, drawn one at a time; 0 for any other."""
        queued = jobs.c.state == "queued"
        lines = select(jobs.c.owner, func.count(), func.min(jobs.c.number)).where(queued)
        with self._db.read() as connection:
            job = connection.execute(_jobs((jobs.c.id == id) & queued)).one_or_none()
            if job is None:
                return 0
            own = queued & (jobs.c.owner == job.owner) & (jobs.c.number < job.number)
            behind = _count(connection, own)
            rows = connection.execute(lines.group_by(jobs.c.owner))
            waiting = {owner: (count, first) for owner, count, first in rows}
        return place(job.owner, behind, waiting, dict(self._turns))

    def done_since(self, when: float) -> list[str]:
        """Jobs that were done after a time, in seconds since 1970."""
        since = (jobs.c.state == "done") & (jobs.c.finished > when)
        with self._db.read() as connection:
            return list(connection.execute(select(jobs.c.id).where(since)).scalars())

    def waiting(self, owner: str) -> tuple[int, int]:
        """How many jobs wait, and how many of them are this owner's."""
        own = func.count().filter(_of(owner))
        query = select(func.count(), own).where(jobs.c.state == "queued")
        with self._db.read() as connection:
            waiting, mine = connection.execute(query).one()
        return waiting, mine

    def waiting_pictures(self) -> int:
        """How many pictures the jobs that wait have together."""
        total = func.coalesce(func.sum(jobs.c.pictures), 0)
        with self._db.read() as connection:
            count = connection.execute(select(total).where(jobs.c.state == "queued"))
            return int(count.scalar_one())

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state."""
        query = select(jobs.c.state, func.count()).group_by(jobs.c.state)
        with self._db.read() as connection:
            found: dict[Any, int] = dict(connection.execute(query).all())
        return {state: found.get(state, 0) for state in get_args(State)}


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "backslashreplace")).hexdigest()


def _of(owner: str | None) -> ColumnElement[bool]:
    return true() if owner is None else jobs.c.owner == storable(owner)


def _count(connection: Connection, which: ColumnElement[bool]) -> int:
    return connection.execute(select(func.count()).select_from(jobs).where(which)).scalar_one()


def _queued(connection: Connection, owner: str | None = None) -> int:
    return _count(connection, (jobs.c.state == "queued") & _of(owner))


def _check_room(connection: Connection, owner: str, room: Room) -> None:
    """Raise QueueFull where no further job may wait."""
    waiting = _queued(connection)
    if waiting >= room.all:
        raise QueueFull(waiting)
    if room.each is not None and (own := _queued(connection, owner)) >= room.each:
        raise QueueFull(own)


def _same(connection: Connection, owner: str, room: Room, fingerprint: str) -> list[Job]:
    """The job that a retry is of, if there is one."""
    if room.joins is None or not fingerprint:
        return []
    equal = _of(owner) & (jobs.c.fingerprint == storable(fingerprint))
    there = _ALIVE | ((jobs.c.state == "done") & jobs.c.id.in_(room.joins))
    found = _read(connection, _jobs(equal & there).order_by(jobs.c.number.desc()).limit(1))
    return [job for job in found if job.state != "done" or len(job.pictures) == job.spec.pictures]


def _waiting(connection: Connection, models: Sequence[str] | None) -> list[Waiting]:
    """Queued jobs in the order of arrival."""
    columns = jobs.c
    query = select(
        columns.number,
        columns.owner,
        columns.pictures,
        columns.batch,
        ((columns.deaths > 0) | (columns.interrupted > 1)).label("alone"),
    ).where(columns.state == "queued")
    if models is not None:
        query = query.where(columns.model.in_(list(models)) if models else false())
    rows = connection.execute(query.order_by(columns.number))
    return [
        Waiting(row.number, row.owner, row.pictures, "" if row.alone else row.batch) for row in rows
    ]


def _jobs(which: ColumnElement[bool]) -> Select[Any]:
    return select(jobs).where(which)


def _read(connection: Connection, query: Select[Any]) -> list[Job]:
    """Jobs with their pictures."""
    rows = connection.execute(query).all()
    drawn: dict[int, list[Drawn]] = {row.number: [] for row in rows}
    there = pictures.c.job.in_(drawn) & (pictures.c.deleted == 0)
    for row in connection.execute(select(pictures).where(there).order_by(pictures.c.number)):
        drawn[row.job].append(drawn_of(row))
    return [_job(row, drawn[row.number]) for row in rows]


def _job(row: Row[Any], drawn: Sequence[Drawn]) -> Job:
    return Job(
        id=row.id,
        owner=row.owner,
        spec=spec_of(row.spec),
        state=row.state,
        created=row.created,
        started=row.started,
        finished=row.finished,
        deaths=row.deaths,
        failure=None if row.failure is None else Failure(**row.failure),
        pictures=tuple(drawn),
    )


def _row(drawn: Drawn) -> dict[str, Any]:
    values = asdict(drawn)
    width, height = values.pop("native")
    return {**values, "native_width": width, "native_height": height}
