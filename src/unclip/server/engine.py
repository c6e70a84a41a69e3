"""Gives waiting jobs to the worker in batches, and tells everybody what becomes of them."""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from ..cost import BATCH
from ..errors import UnclipError
from .events import Logs
from .figures import Figures
from .job import ENDED, Drawn, Event, Failure, Job, Spec
from .launch import Connection, Launcher, SubprocessLauncher
from .protocol import Message, ModelInfo
from .refusals import Draining, NoWorker, Refused
from .store import Store

_log = logging.getLogger(__name__)

PATIENCE = 15.0
"""Seconds that a job goes on after its last client has left: a retry finds it."""

HELD = 16
"""Jobs whose pictures are kept in memory where they cannot be stored."""

CHECKING = 5.0
"""Most seconds that a request waits for the worker to check it; it is checked again when drawn."""


@dataclass(frozen=True)
class EngineOptions:
    """What the engine serves, and how.

    Args:
        models: name -> path or name of a model, the default first.
        device, dtype: as for `unclip.load`.
        memory: most bytes of the worker before it lets a model go to load another.
        exact: draw each picture in a batch of its own, for the same bytes whatever else is drawn.
        hooks: see `hooks.load_hook`.
        batch: most pictures drawn together.
        queued: most jobs that wait.
        patience: see `PATIENCE`.
    """

    models: Mapping[str, str]
    device: str | None = None
    dtype: str | None = None
    memory: int | None = None
    exact: bool = False
    hooks: tuple[str, ...] = ()
    batch: int = BATCH
    queued: int = 1000
    patience: float = PATIENCE


@dataclass
class _Live:
    """What the engine knows of a job that has not ended."""

    kept: bool = False  # it goes on without a client
    clients: int = 0
    leaving: asyncio.TimerHandle | None = None


class Engine:
    """Owns the queue, the worker, and the log of every job.

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
        self._logs = Logs()
        self._unsaved: dict[str, tuple[Job, dict[str, bytes]]] = {}
        self._connection: Connection | None = None
        self._running: dict[str, Job] = {}
        self._watched: set[str] = set()  # jobs that wait, whose previews somebody wants
        self._waking = asyncio.Event()
        self._idle = asyncio.Event()
        self._checks: dict[int, asyncio.Future[Message]] = {}
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None
        self.models: tuple[ModelInfo, ...] = ()
        self.draining, self.figures = False, Figures()

    @property
    def ready(self) -> bool:
        """Whether a job would be drawn now."""
        return self._connection is not None and bool(self.models) and not self.draining

    async def start(self) -> None:
        """Start the worker. Raises NoWorker where it cannot load its models."""
        self._ready = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep_working())
        await self._ready

    async def stop(self, finish_running: bool = True) -> None:
        """Take no more jobs; what runs is finished, or drawn again after the next start."""
        self.draining = True
        self._waking.set()
        if finish_running and self._connection is not None:
            while self._running:
                self._idle.clear()
                await self._idle.wait()
        connection, self._connection = self._connection, None
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if connection is not None:
            await connection.close(5.0 if finish_running else 0.0)

    async def submit(
        self,
        owner: str,
        spec: Spec,
        files: Mapping[str, bytes] | None = None,
        fingerprint: str = "",
        join: bool = False,
        kept: bool = False,
    ) -> Job:
        """Put a job into the queue.

        Args:
            owner: whose it is.
            spec: what to draw; its inputs are the digests of stored files.
            files: of its inputs, those that are not stored yet.
            fingerprint: equal requests have the same.
            join: it may be a retry; then an equal one that has not ended is it.
            kept: it goes on when nobody waits for it.

        Raises:
            Draining: the server stops.
            Refused: the model cannot draw it.
            QueueFull: too many wait.
        """
        if self.draining:
            raise Draining("the server is stopping: ask again in a moment")
        stored = {name: await self._stored(data) for name, data in (files or {}).items()}
        spec = Spec(**{**vars(spec), "inputs": {**spec.inputs, **stored}})
        await self._check(spec)
        most = self.options.queued
        job = await asyncio.to_thread(self.store.add, owner, spec, most, fingerprint, join)
        if job.id in self._live:  # joined
            return job
        self._live[job.id] = _Live(kept)
        place = await asyncio.to_thread(self.store.place, job.id)
        self._logs[job.id].add("queued", place=place)
        self._waking.set()
        return job

    async def _stored(self, data: bytes) -> str:
        return await asyncio.to_thread(self.store.put_input, data)

    async def _check(self, spec: Spec) -> None:
        """Ask the worker whether it can draw this. Raises Refused."""
        if self._connection is None:
            return
        number = secrets.randbits(53)
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._checks[number] = future
        body = {"number": number, "spec": spec.to_json(), "inputs": self._paths(spec)}
        try:
            await self._connection.send({"kind": "check", **body})
            answer = await asyncio.wait_for(future, CHECKING)
        except (TimeoutError, OSError):
            return
        finally:
            self._checks.pop(number, None)
        if answer.get("failure"):
            raise Refused(Failure(**answer["failure"]))

    def _paths(self, spec: Spec) -> dict[str, str]:
        return {name: str(self.store.input_path(one)) for name, one in spec.inputs.items()}

    async def wait(self, job: str) -> Job | None:
        """The job when it has ended; None where there is none."""
        async for _ in self.events(job):
            pass
        if job in self._unsaved:
            return self._unsaved[job][0]
        return await asyncio.to_thread(self.store.job, job)

    async def events(self, job: str, after: int = 0) -> AsyncIterator[Event]:
        """What happened to a job after an event, and what happens until it ends."""
        log = self._logs.get(job)
        if log is None:  # of before a restart
            known = await asyncio.to_thread(self.store.job, job)
            if known is None:
                return
            if known.state in ENDED:
                yield Event(max(1, after + 1), known.state)
                return
            log = self._logs[job]
        await self._watch(job)
        async for event in log.follow(after):
            yield event

    async def _watch(self, job: str) -> None:
        """Let the worker send previews of a job."""
        if self._connection is not None and job in self._running:
            with suppress(OSError):
                await self._connection.send({"kind": "watch", "ids": [job]})
        elif job in self._live:
            self._watched.add(job)

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
        if not await asyncio.to_thread(self.store.cancel, job, owner):
            return False
        if job in self._running and self._connection is not None:
            with suppress(OSError):
                await self._connection.send({"kind": "cancel", "id": job})
        self._end(job, "cancelled")
        return True

    def _end(self, job: str, kind: str, **data: Any) -> None:
        """Tell the end of a job, once."""
        live = self._live.pop(job, None)
        if live is not None and live.leaving is not None:
            live.leaving.cancel()
        log = self._logs[job]
        if not log.ended:
            log.add(kind, **data)
        self._logs.prune()

    async def read(self, drawn: Drawn) -> bytes:
        """The file of a picture."""
        for _, files in self._unsaved.values():
            if drawn.id in files:
                return files[drawn.id]
        found = await asyncio.to_thread(self.store.picture, drawn.id)
        if found is None:
            raise FileNotFoundError(drawn.id)
        return await asyncio.to_thread(found.path.read_bytes)

    async def _keep_working(self) -> None:
        """Start a worker, and another when it dies, waiting longer each time."""
        pause = 0.2
        while True:
            began = time.monotonic()
            try:
                self._connection = connection = await self._launch()
                await self._serve(connection)
            except asyncio.CancelledError:
                raise
            except Exception:  # noqa: BLE001 - whatever it is, another worker starts
                _log.exception("the worker was lost")
            if self.draining:
                return
            connection.kill()
            self._connection = None
            await self._release()
            self.figures.deaths += 1
            if self._ready is not None and not self._ready.done():
                self._ready.set_exception(NoWorker("the worker died while it loaded its models"))
                return
            pause = 0.2 if time.monotonic() - began > 30 else min(30.0, 2 * pause)
            _log.warning("the worker died; another one starts in %.1f s", pause)
            await asyncio.sleep(pause)

    async def _release(self) -> None:
        """What a dead worker drew waits again, or has failed by its second death."""
        ids, self._running = list(self._running), {}
        for job in await asyncio.to_thread(self.store.release, ids, True) if ids else ():
            if job.state == "failed" and job.failure is not None:
                self._end(job.id, "failed", **vars(job.failure))
            else:
                self._logs[job.id].add("queued", place=0)
        self._idle.set()

    async def _serve(self, connection: Connection) -> None:
        """Let a worker draw until it ends."""
        options = self.options
        about = {"device": options.device, "dtype": options.dtype, "memory": options.memory}
        begin = {
            "models": dict(options.models),
            "exact": options.exact,
            "hooks": list(options.hooks),
            **about,
        }
        await connection.send({"kind": "begin", **begin})
        giving: asyncio.Task[None] | None = None
        try:
            while (message := await connection.receive()) is not None:
                kind = message["kind"]
                if kind == "ready":
                    self.models = tuple(ModelInfo.of(one) for one in message["models"])
                    if self._ready is not None and not self._ready.done():
                        self._ready.set_result(None)
                    giving = asyncio.create_task(self._give(connection))
                elif kind == "broken":
                    self._broken(message["message"])
                elif kind == "idle":
                    await self._all_ended()
                    giving = asyncio.create_task(self._give(connection))
                else:
                    await self._take(message)
        finally:
            if giving is not None:
                giving.cancel()

    def _broken(self, text: str) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(NoWorker(text))

    async def _give(self, connection: Connection) -> None:
        """Lease the next batch, as soon as there is one, and let it be drawn."""
        most = 1 if self.options.exact else self.options.batch
        while not self.draining:
            self._waking.clear()
            try:
                jobs = await asyncio.to_thread(self.store.lease, most)
            except UnclipError as error:  # such as a full disk
                _log.error("no job can be taken: %s", error)
                await asyncio.sleep(1.0)
                continue
            if jobs:
                await self._draw(connection, jobs)
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._waking.wait(), 5.0)

    async def _draw(self, connection: Connection, jobs: Sequence[Job]) -> None:
        self._running = {job.id: job for job in jobs}
        now = time.time()
        for job in jobs:
            self._live.setdefault(job.id, _Live(kept=True))
            self._logs[job.id].add("started", together=len(jobs))
            self.figures.waits.append(now - job.created)
        self.figures.batches.append(sum(job.spec.pictures for job in jobs))
        tasks = [
            {"id": job.id, "spec": job.spec.to_json(), "inputs": self._paths(job.spec)}
            for job in jobs
        ]
        await connection.send({"kind": "draw", "jobs": tasks})
        if wanted := [job.id for job in jobs if job.id in self._watched]:
            await connection.send({"kind": "watch", "ids": wanted})
            self._watched.difference_update(wanted)

    async def _all_ended(self) -> None:
        """A batch is over. What the worker said nothing of waits again."""
        left, self._running = list(self._running), {}
        if left:
            await asyncio.to_thread(self.store.release, left, True)
        self._idle.set()

    async def _take(self, message: Message) -> None:
        """What the worker says of a job."""
        kind = message.pop("kind")
        if kind == "checked":
            future = self._checks.get(message["number"])
            if future is not None and not future.done():
                future.set_result(message)
            return
        job = message.pop("id")
        if kind == "done":
            await self._done(job, message["pictures"])
        elif kind == "failed":
            self._running.pop(job, None)
            failure = Failure(**message["failure"])
            await asyncio.to_thread(self.store.fail, job, failure)
            self._end(job, "failed", **vars(failure))
        elif kind == "cancelled":
            self._running.pop(job, None)
            self._end(job, "cancelled")
        elif job in self._running:
            self.figures.steps += kind == "step"
            self._logs[job].add(kind, **message)

    async def _done(self, job: str, pictures: Sequence[Message]) -> None:
        """Keep finished pictures, then say so."""
        running = self._running.pop(job, None)
        made = []
        for one in pictures:
            data = base64.b64decode(one.pop("data"))
            native = tuple(one.pop("native"))
            made.append((Drawn(id=secrets.token_hex(16), native=native, **one), data))
        try:
            if await asyncio.to_thread(self.store.finish, job, made) is None:
                return  # cancelled meanwhile
        except UnclipError as error:
            _log.error("the pictures of job %s cannot be kept: %s", job, error)
            if running is None:
                return
            self._hold(running, made)
        self.figures.pictures += len(made)
        self._end(job, "done", pictures=[one.id for one, _ in made])

    def _hold(self, job: Job, made: Sequence[tuple[Drawn, bytes]]) -> None:
        """Keep what cannot be stored for the clients that wait, of the last few jobs."""
        ended = replace(
            job, state="done", finished=time.time(), pictures=tuple(one for one, _ in made)
        )
        self._unsaved[job.id] = ended, {one.id: data for one, data in made}
        for old in list(self._unsaved)[:-HELD]:
            del self._unsaved[old]
