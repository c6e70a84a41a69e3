"""Gives waiting jobs to the worker in batches, and tells everybody what becomes of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ..errors import UnclipError
from .engine_options import EngineOptions
from .events import Logs
from .feed import Feed, Feeds, News
from .figures import Figures
from .gathering import Gathering
from .job import ENDED, Drawn, Event, Failure, Job, Spec
from .keeper import Keeper
from .lane import Lane
from .launch import Launcher, SubprocessLauncher
from .protocol import ModelInfo
from .refusals import Draining
from .store import Room, Store

_log = logging.getLogger(__name__)

UNHEARD = 60.0
"""Seconds in which a retry finds a job that was done when no client waited for it."""

SCALING = 1.0
"""Seconds between two looks at how many workers are needed."""


@dataclass
class _Live:
    """What the engine knows of a job that has not ended."""

    owner: str = ""
    kept: bool = False  # it goes on without a client
    clients: int = 0
    leaving: asyncio.TimerHandle | None = None
    ended: Job | None = None  # as it was stored


class Engine:
    """Owns the queue, the workers' lanes, and the log of every job.

    Args:
        store: where jobs and pictures are kept.
        options: what is served.
        launch: starts a worker; tests give their own.
    """

    def __init__(
        self, store: Store, options: EngineOptions, launch: Launcher | None = None
    ) -> None:
        self.store, self.options = store, options
        self._launch = launch or SubprocessLauncher()
        self._live: dict[str, _Live] = {}
        self._logs, self.feeds = Logs(), Feeds()
        self.keeper = Keeper(store)
        self._watched: dict[str, int] = {}  # of jobs: how many previews somebody wants
        self._unheard: dict[str, float] = {}  # done without a client -> when
        self._lanes: list[Lane] = []
        self._scaling: asyncio.Task[None] | None = None
        self._retiring: dict[Lane, asyncio.Task[None]] = {}
        self._gathering = Gathering()
        self.models: tuple[ModelInfo, ...] = ()
        self.draining, self.figures = False, Figures()

    @property
    def ready(self) -> bool:
        """Whether a job would be drawn now."""
        return bool(self.lanes) and not self.draining

    @property
    def lanes(self) -> list[Lane]:
        """Those whose worker has its models."""
        return [lane for lane in self._lanes if lane.ready]

    @property
    def idle(self) -> int:
        """How many workers have nothing to do."""
        return sum(not lane.running for lane in self.lanes)

    @property
    def workers(self) -> int:
        """How many there are, those included that are loading."""
        return len(self._lanes)

    @property
    def memory(self) -> list[dict[str, int]]:
        """Bytes that each worker holds: of the machine, and of its accelerator."""
        return [
            {"machine": one.memory["bytes"], "accelerator": one.memory["gpu"]}
            for one in self._lanes
            if one.memory
        ]

    async def start(self) -> None:
        """Start the workers. Raises NoWorker where the first cannot load its models."""
        for _ in range(self.options.workers):
            self._add_lane()
        # what was done just before the end of the last process may have reached nobody
        done = await asyncio.to_thread(self.store.done_since, time.time() - UNHEARD)
        self._unheard = dict.fromkeys(done, time.monotonic())
        self.models = await asyncio.shield(self._lanes[0].loaded)
        self._scaling = asyncio.create_task(self._scale())

    async def stop(self, finish_running: bool = True) -> None:
        """Take no more jobs; what runs is finished, or drawn again after the next start."""
        self.draining = True
        if self._scaling is not None:
            self._scaling.cancel()
        await asyncio.gather(*(lane.stop(finish_running) for lane in self._lanes))
        await asyncio.gather(*self._retiring.values())
        await self.keeper.close()

    def _add_lane(self) -> None:
        options = self.options
        begin = {
            "kind": "begin",
            "models": dict(options.models),
            "device": options.device,
            "dtype": options.dtype,
            "memory": options.memory,
            "exact": options.exact,
            "hooks": list(options.hooks),
            "c2pa": options.c2pa,
        }
        lane = Lane(self, self._launch, begin)
        self._lanes.append(lane)
        lane.loaded.add_done_callback(lambda _: self._drop_unloaded(lane))
        lane.start()

    def _drop_unloaded(self, lane: Lane) -> None:
        """Do without a further worker that cannot load its models; the first one raises."""
        error = None if lane.loaded.cancelled() else lane.loaded.exception()
        if error is not None and lane is not self._lanes[0]:
            _log.error("a further worker cannot load its models: %s", error)
            self._lanes.remove(lane)

    async def _scale(self) -> None:
        """Start a further worker while all are busy and jobs wait; end one that has long rested."""
        least, most = self.options.workers, self.options.most_workers
        while most > least:
            await asyncio.sleep(SCALING)
            resting = [lane for lane in self._lanes if lane.ready and not lane.running]
            try:
                counts = await asyncio.to_thread(self.store.counts)
            except UnclipError as error:  # such as a locked database
                _log.error("the queue cannot be counted: %s", error)
                continue
            loading = any(not lane.ready for lane in self._lanes)
            if counts.get("queued") and not resting and not loading and self.workers < most:
                self._add_lane()
            elif self.workers > least:
                long_ago = time.monotonic() - self.options.rest
                for lane in [one for one in resting if one.idle_since < long_ago][:1]:
                    if lane not in self._retiring:
                        self._retiring[lane] = asyncio.create_task(self._retire(lane))

    async def _retire(self, lane: Lane) -> None:
        """End a worker; it may have just begun a batch, which it finishes meanwhile."""
        await lane.stop(True)
        self._lanes.remove(lane)
        del self._retiring[lane]

    async def submit(
        self,
        owner: str,
        spec: Spec,
        files: Mapping[str, bytes] | None = None,
        fingerprint: str = "",
        join: bool = False,
        kept: bool = False,
        loose: bool = False,
    ) -> Job:
        """Put a job into the queue.

        Args:
            owner: whose it is.
            spec: what to draw; its inputs are the digests of stored files.
            files: of its inputs, those that are not stored yet.
            fingerprint: equal requests have the same.
            join: it may be a retry; then it is an equal one that has not ended, or is just done and
                nobody has heard of it.
            kept: it goes on when nobody waits for it.
            loose: it may be drawn from memory alone where the store cannot take it.

        Raises:
            Draining: the server stops.
            Refused: the model cannot draw it.
            QueueFull: too many wait; then no file is stored.
        """
        if self.draining:
            raise Draining("the server is stopping: ask again in a moment")
        with self._gathering.arriving():
            job = await self._accept(owner, spec, files or {}, fingerprint, join, loose)
        if job.id in self._live or job.state in ENDED or self._has_ended(job.id):
            # joined, or a worker was quicker than this
            if live := self._live.get(job.id):
                live.kept = kept
            self._unheard.pop(job.id, None)
            return job
        self._live[job.id] = _Live(job.owner, kept)
        # a worker that has nothing to do takes it at once
        place = 0 if self.idle else await asyncio.to_thread(self.store.place, job.id)
        self.tell(job.id, "queued", place=place)
        for lane in self._lanes:
            lane.wake()
        return job

    async def _accept(
        self,
        owner: str,
        spec: Spec,
        files: Mapping[str, bytes],
        fingerprint: str,
        join: bool,
        loose: bool,
    ) -> Job:
        """The job, on the disk: a new one, or the one that a retry joins. Raises as `submit`."""
        room = self._room(join)
        if files:
            await asyncio.to_thread(self.store.check_room, owner, room, fingerprint)
            stored = {name: await self._stored(data) for name, data in files.items()}
            spec = replace(spec, inputs={**spec.inputs, **stored})
        for lane in sorted(self.lanes, key=lambda one: bool(one.running))[:1]:  # one that rests
            await lane.check(spec)
        return await self.keeper.add(owner, spec, self._room(join), fingerprint, loose)

    def _has_ended(self, job: str) -> bool:
        log = self._logs.get(job)
        return log is not None and log.ended

    def _room(self, join: bool) -> Room:
        long_ago = time.monotonic() - UNHEARD
        recent = (one for one, when in self._unheard.items() if when > long_ago)
        joins = frozenset(recent) if join else None
        return Room(self.options.queued, self.options.each, joins)

    def _not_heard_of(self, job: str) -> None:
        """A job is done, and nobody has been given its pictures."""
        now = time.monotonic()
        self._unheard[job] = now
        for old in [one for one, when in self._unheard.items() if when < now - UNHEARD]:
            del self._unheard[old]

    async def _stored(self, data: bytes) -> str:
        return await asyncio.to_thread(self.store.put_input, data)

    async def wait(self, job: str) -> Job | None:
        """The job when it has ended; None where there is none."""
        live = self._live.get(job)
        async for _ in self._followed(job, 0):
            pass
        if held := self.keeper.job(job):
            return held
        if live is not None and live.ended is not None:
            return live.ended
        return await asyncio.to_thread(self.store.job, job)

    async def events(
        self, job: str, after: int = 0, previews: int | None = None
    ) -> AsyncIterator[Event]:
        """What happened to a job after an event, and what happens until it ends.

        Args:
            job: its id.
            after: number of the last event that is known.
            previews: how many are wanted, spread over the steps; None: as many as take little time;
                0: none, and none are made where nobody wants them.
        """
        if job in self._live and previews != 0:
            self._watched[job] = max(previews or 0, self._watched.get(job, 0))
            if (lane := self._drawing(job)) is not None:
                await lane.say(kind="watch", previews={job: self._watched[job]})
        async for event in self._followed(job, after):
            if previews != 0 or event.kind != "preview":
                yield event

    @asynccontextmanager
    async def following(self, owner: str, previews: bool) -> AsyncIterator[Feed]:
        """Within, what happens to all of an owner's jobs and pictures is collected."""
        with self.feeds.following(owner, previews) as feed:
            for lane in self._lanes if previews else ():
                mine = [one.id for one in lane.running.values() if one.owner == owner]
                self._watched.update({one: self._watched.get(one, 0) for one in mine})
                if mine:
                    await lane.say(kind="watch", previews={i: self._watched[i] for i in mine})
            yield feed

    async def _followed(self, job: str, after: int) -> AsyncIterator[Event]:
        log = self._logs.get(job)
        if log is None:  # of before a restart
            known = await asyncio.to_thread(self.store.job, job)
            if known is None:
                return
            if known.state in ENDED:
                yield Event(max(1, after + 1), known.state)
                return
            log = self._logs[job]
        async for event in log.follow(after):
            yield event

    def _drawing(self, job: str) -> Lane | None:
        """The lane in which a job is drawn now."""
        return next((lane for lane in self._lanes if job in lane.running), None)

    @contextmanager
    def attending(self, job: str) -> Iterator[None]:
        """Within, a client waits for a job. Without any, it is cancelled after a while."""
        live = self._live.get(job)
        if live is None:
            yield
            return
        live.clients += 1
        if live.leaving is not None:
            live.leaving.cancel()
            live.leaving = None
        try:
            yield
        finally:
            live.clients -= 1
            if live.clients == 0 and not live.kept and job in self._live:
                loop = asyncio.get_running_loop()
                live.leaving = loop.call_later(self.options.patience, self._give_up, job)

    def _give_up(self, job: str) -> None:
        task = asyncio.ensure_future(self.cancel(job))
        task.add_done_callback(lambda done: done.exception())

    async def cancel(self, job: str, owner: str | None = None) -> bool:
        """Stop a job that has not ended; whether there was one, of this owner's if one is given."""
        if not await self.keeper.cancel(job, owner):
            return False
        lane = self._drawing(job)
        if lane is not None:
            await lane.say(kind="cancel", id=job)
        if job not in self._live and (known := await asyncio.to_thread(self.store.job, job)):
            self._live[job] = _Live(known.owner)  # it has waited since before a restart
        self._end(job, "cancelled")
        return True

    def _end(self, job: str, kind: str, **data: Any) -> None:
        """Tell the end of a job, once."""
        if not self._logs[job].ended:
            self.tell(job, kind, **data)
        self._watched.pop(job, None)
        live = self._live.pop(job, None)
        if live is not None and live.leaving is not None:
            live.leaving.cancel()
        self._logs.prune()

    async def read(self, drawn: Drawn) -> bytes:
        """See `Keeper.read`."""
        return await self.keeper.read(drawn)

    async def lease(self) -> list[Job]:
        """See `Desk`."""
        most = 1 if self.options.exact else self.options.batch
        gathers = most > 1 and not self.keeper.has_loose
        if gathers and not await self._gathering.wait(self._waiting, most):
            return []
        while jobs := await self.keeper.lease(most):
            if wanted := [job for job in jobs if not self._has_ended(job.id)]:
                return wanted  # the others were cancelled just now
        return []

    async def _waiting(self) -> int:
        """How many pictures wait."""
        return await asyncio.to_thread(self.store.waiting_pictures)

    def started(self, jobs: Sequence[Job]) -> dict[str, int]:
        """See `Desk`."""
        now = time.time()
        for job in jobs:
            self._live.setdefault(job.id, _Live(job.owner, kept=True))
            if self.feeds.wants_previews(job.owner):
                self._watched.setdefault(job.id, 0)
            self.tell(job.id, "started", together=len(jobs))
            self.figures.waits.append(now - job.created)
        self.figures.batches.append(sum(job.spec.pictures for job in jobs))
        return {job.id: self._watched[job.id] for job in jobs if job.id in self._watched}

    def tell(self, job: str, kind: str, **data: Any) -> None:
        """See `Desk`."""
        self._logs[job].add(kind, **data)
        owner = self._live.get(job, _Live()).owner
        self.feeds.tell(owner, News(kind, job, data))

    def worked(self, steps: int) -> None:
        """See `Desk`."""
        self.figures.steps += steps

    def cancelled(self, job: str) -> None:
        """See `Desk`."""
        self._end(job, "cancelled")

    async def failed(self, job: Job, failure: Failure) -> None:
        """See `Desk`."""
        live = self._live.get(job.id, _Live())
        live.ended = await self.keeper.fail(job, failure)
        self._end(job.id, "failed", **vars(failure))

    async def lost(self, jobs: Sequence[str]) -> None:
        """See `Desk`: what a dead worker drew waits again, or has failed by its second death."""
        released = await self.keeper.release(jobs) if jobs else ()
        self.figures.deaths += 1
        for job in released:
            if job.state == "failed" and job.failure is not None:
                self._live.get(job.id, _Live()).ended = job
                self._end(job.id, "failed", **vars(job.failure))
            else:
                self.tell(job.id, "queued", place=0)

    async def done(self, job: Job, made: Sequence[tuple[Drawn, bytes]]) -> None:
        """See `Desk`: pictures are kept, then told of."""
        live = self._live.get(job.id, _Live())
        self._not_heard_of(job.id)  # before a retry could see that it is done
        live.ended = await self.keeper.finish(job, made)
        if live.ended is None:
            return  # cancelled meanwhile
        took = time.time() - job.started
        self.figures.drew(len(made), took)
        self._gathering.took(took)
        if live.clients:
            self._unheard.pop(job.id, None)
            self._gathering.answered()
        self._end(job.id, "done", pictures=[one.id for one, _ in made])

    def paths(self, spec: Spec) -> dict[str, str]:
        """See `Desk`."""
        return {name: str(self.store.input_path(one)) for name, one in spec.inputs.items()}
