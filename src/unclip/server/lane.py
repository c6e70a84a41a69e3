"""One worker's place: starts it, gives it batches, hears what it says, and starts another."""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from .job import Drawn, Failure, Job, Spec
from .launch import Connection, Launcher
from .protocol import ANSWERED, Message, ModelInfo
from .refusals import NoWorker, Refused

_log = logging.getLogger(__name__)

CHECKING = 5.0
"""Most seconds that a request waits for a worker to check it; it is checked again when drawn."""

SHORT, LONG = 0.2, 30.0
"""Seconds before a new worker starts: after the first death, and at most."""

LOOKING = 5.0
"""Seconds between two looks into the queue when nobody says that there is something."""


class Desk(Protocol):
    """What a lane needs of the engine."""

    draining: bool

    async def lease(self) -> list[Job]:
        """The next batch; empty where nothing waits."""

    def tell(self, job: str, kind: str, **data: Any) -> None:
        """Something happened to a job."""

    def worked(self, steps: int) -> None:
        """So many further sampling steps were taken."""

    def started(self, jobs: Sequence[Job]) -> dict[str, int]:
        """A batch begins. Returns how many previews somebody wants of which of it."""

    async def done(self, job: Job, made: Sequence[tuple[Drawn, bytes]]) -> None:
        """A job has its pictures."""

    async def failed(self, job: Job, failure: Failure) -> None:
        """A job cannot be drawn."""

    def cancelled(self, job: str) -> None:
        """A job was stopped."""

    async def lost(self, jobs: Sequence[str]) -> None:
        """A worker died over jobs."""

    def paths(self, spec: Spec) -> dict[str, str]:
        """Field -> path of its input pictures."""


class Lane:
    """A worker, and the next one when it dies.

    Args:
        desk: gives jobs and gets what becomes of them.
        launch: starts a worker.
        begin: the first message to each.
    """

    def __init__(self, desk: Desk, launch: Launcher, begin: Message) -> None:
        self._desk, self._launch, self._begin = desk, launch, begin
        self._connection: Connection | None = None
        self._checks: dict[int, asyncio.Future[Message]] = {}
        self._empty = asyncio.Event()
        self._waking = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._giving: asyncio.Task[None] | None = None
        self._closing = False  # takes no further batch
        self.loaded: asyncio.Future[tuple[ModelInfo, ...]] = (
            asyncio.get_running_loop().create_future()
        )
        self.running: dict[str, Job] = {}
        self.ready = False
        self.memory: Message = {}  # bytes of its worker, as that last said
        self.idle_since = time.monotonic()

    def start(self) -> None:
        """Begin; `loaded` tells when its worker has its models, or raises NoWorker."""
        self._task = asyncio.create_task(self._keep_working())

    def wake(self) -> None:
        """There may be something in the queue."""
        self._waking.set()

    async def stop(self, finish_running: bool) -> None:
        """End its worker, after what runs where that is wanted."""
        await self._give_no_more()
        while finish_running and self.running and self.ready:
            self._empty.clear()
            await self._empty.wait()
        connection, self._connection, self.ready = self._connection, None, False
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if connection is not None:
            await connection.close(5.0 if finish_running else 0.0)
        if self.loaded.done():
            self.loaded.exception()  # somebody has looked

    async def _give_no_more(self) -> None:
        """Wait until it takes no batch; never in the middle, or what it takes would be lost."""
        self._closing = True
        self._waking.set()
        if self._giving is not None:
            await asyncio.wait([self._giving])

    async def say(self, **message: Any) -> None:
        """Send a message to the worker; nothing where there is none."""
        if self._connection is not None:
            with suppress(OSError):
                await self._connection.send(message)

    @property
    def asked(self) -> int:
        """How many questions its worker has not answered."""
        return len(self._checks)

    async def check(self, spec: Spec) -> None:
        """Ask the worker whether it can draw this. Raises Refused."""
        about = {"spec": spec.to_json(), "inputs": self._desk.paths(spec)}
        with suppress(TimeoutError, NoWorker):
            await self.ask(CHECKING, kind="check", **about)

    async def ask(self, seconds: float, **message: Any) -> Message:
        """What the worker answers, between two steps of what it draws.

        Raises:
            TimeoutError: nothing in so many seconds.
            NoWorker: it died.
            Refused: it cannot.
        """
        number = secrets.randbits(53)
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._checks[number] = future
        try:
            await self.say(number=number, **message)
            answer = await asyncio.wait_for(future, seconds)
        finally:
            self._checks.pop(number, None)
        if answer.get("failure"):
            raise Refused(Failure(**answer["failure"]))
        return answer

    async def _keep_working(self) -> None:
        """Start a worker, and another when it dies, waiting longer each time."""
        pause = SHORT
        while True:
            began, connection = time.monotonic(), None
            try:
                connection = self._connection = await self._launch()
                await self._serve(connection)
            except asyncio.CancelledError:
                raise
            except Exception:  # noqa: BLE001 - whatever it is, another worker starts
                _log.exception("the worker was lost")
            if self._desk.draining and not self.running:
                return
            if connection is not None:
                connection.kill()
            self._connection, self.ready, self.memory = None, False, {}
            for future in [one for one in self._checks.values() if not one.done()]:
                future.set_exception(NoWorker("the worker died"))
            lost, self.running = list(self.running), {}
            await self._lose(lost)
            if not self.loaded.done():
                self.loaded.set_exception(NoWorker("the worker died while it loaded its models"))
                return
            if self.loaded.exception() is not None:
                return
            pause = SHORT if time.monotonic() - began > LONG else min(LONG, 2 * pause)
            _log.warning("the worker died; another one starts in %.1f s", pause)
            await asyncio.sleep(pause)

    async def _lose(self, jobs: Sequence[str]) -> None:
        """Tell of jobs that a worker has left, again and again until that can be written down."""
        while True:
            try:
                await self._desk.lost(jobs)
                return
            except Exception as error:  # noqa: BLE001 - such as a full disk; the lane goes on
                _log.error("what a dead worker drew cannot be queued again: %s", error)
            finally:
                self._empty.set()
            await asyncio.sleep(LOOKING)

    async def _serve(self, connection: Connection) -> None:
        """Let a worker draw until it ends."""
        self._closing = self._desk.draining
        await connection.send(self._begin)
        try:
            while (message := await connection.receive()) is not None:
                kind = message["kind"]
                if kind == "broken":
                    self._broken(message["message"])
                elif kind in ("ready", "idle"):
                    await self._is_free(message)
                    self._giving = asyncio.create_task(self._give(connection))
                else:
                    await self._take(message)
        finally:
            await self._give_no_more()

    def _broken(self, text: str) -> None:
        if not self.loaded.done():
            self.loaded.set_exception(NoWorker(text))

    async def _is_free(self, message: Message) -> None:
        """It can draw: it has just loaded its models, or every job of its batch has ended."""
        if message["kind"] == "ready" and not self.loaded.done():
            self.loaded.set_result(tuple(ModelInfo.of(one) for one in message["models"]))
        left, self.running = list(self.running), {}
        if left:  # the worker said nothing of them
            await self._lose(left)
        self.ready, self.idle_since = True, time.monotonic()
        self._empty.set()

    async def _give(self, connection: Connection) -> None:
        """Take the next batch, as soon as there is one, and let it be drawn."""
        while not self._closing:
            self._waking.clear()
            try:
                jobs = await self._desk.lease()
            except Exception as error:  # noqa: BLE001 - such as a full disk; the lane goes on
                _log.error("no job can be taken: %s", error)
                jobs = []
            if jobs:
                await self._draw(connection, jobs)
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._waking.wait(), LOOKING)

    async def _draw(self, connection: Connection, jobs: Sequence[Job]) -> None:
        self.running = {job.id: job for job in jobs}
        watched, paths = self._desk.started(jobs), self._desk.paths
        try:
            tasks = [
                {"id": job.id, "spec": job.spec.to_json(), "inputs": paths(job.spec)}
                for job in jobs
            ]
            await connection.send({"kind": "draw", "jobs": tasks})
            if watched:
                await connection.send({"kind": "watch", "previews": watched})
        except Exception as error:  # noqa: BLE001 - it would wait for ever: `_keep_working` goes on
            _log.error("a batch cannot be given to the worker: %s", error)
            connection.kill()

    async def _take(self, message: Message) -> None:
        """What the worker says of a job."""
        kind = message.pop("kind")
        if kind == "memory":
            self._desk.worked(message.pop("steps", 0))
            self.memory = message
            return
        if kind in ANSWERED.values():
            future = self._checks.get(message["number"])
            if future is not None and not future.done():
                future.set_result(message)
            return
        job = message.pop("id")
        if job not in self.running:
            return
        if kind in ("done", "failed", "cancelled"):
            await self._end(job, kind, message)
            self.running.pop(job, None)  # not before: while a job runs, the lane does not stop
        else:
            self._desk.tell(job, kind, **message)

    async def _end(self, job: str, kind: str, message: Message) -> None:
        if kind == "done":
            made = await asyncio.to_thread(lambda: [_file(one) for one in message["pictures"]])
            await self._desk.done(self.running[job], made)
        elif kind == "failed":
            await self._desk.failed(self.running[job], Failure(**message["failure"]))
        else:
            self._desk.cancelled(job)


def _file(values: Message) -> tuple[Drawn, bytes]:
    """A finished picture as the worker tells of it."""
    rest = {name: one for name, one in values.items() if name not in ("data", "native")}
    native = tuple(values["native"])
    return Drawn(id=secrets.token_hex(16), native=native, **rest), base64.b64decode(values["data"])
