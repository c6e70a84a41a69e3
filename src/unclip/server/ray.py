"""Workers on other machines: each is an actor of a Ray cluster (extra `ray`).

The head runs the server and alone owns the queue. A worker that a node takes with it when it dies
is a dead worker like any other: what it held waits again. Models are named as on the head, so each
machine needs them under the same path, or bundled.
"""

from __future__ import annotations

import queue
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bulk.cluster import join
from . import protocol
from .protocol import Message

if TYPE_CHECKING:
    from .launch import Connection

POLLING = 5.0
"""Seconds that a call for messages waits on the worker's side."""


class Remote:
    """A worker within an actor: messages come and go as calls.

    `hear` and `say` run in threads of their own, beside the thread that draws.
    """

    def __init__(self) -> None:
        from .worker import Worker

        self._to: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._said: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._folder = tempfile.TemporaryDirectory(prefix="unclip-")
        self._worker = Worker(iter(self._to.get, b""), self)  # type: ignore[arg-type]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self._worker.run()
        finally:
            self._said.put(None)

    def write(self, line: bytes) -> None:
        """As a file of the worker's."""
        self._said.put(protocol.decode(line))

    def flush(self) -> None:
        """As a file's."""

    def hear(self, message: Message, files: dict[str, bytes]) -> None:
        """Take a message; the paths in it name `files`, which are written here first."""
        for name, data in files.items():
            path = Path(self._folder.name) / name
            if not path.exists():
                path.write_bytes(data)
        for job in message.get("jobs", [message]):
            if "inputs" in job:
                inputs = {
                    field: Path(self._folder.name) / one for field, one in job["inputs"].items()
                }
                job["inputs"] = {field: str(path) for field, path in inputs.items()}
        self._to.put(protocol.encode(message))

    def say(self) -> list[Message | None]:
        """What it has said since, or nothing yet; None at its end."""
        said: list[Message | None] = []
        try:
            said.append(self._said.get(timeout=POLLING))
            while len(said) < 100:
                said.append(self._said.get_nowait())
        except queue.Empty:
            pass
        return said


class RayConnection:
    """A worker that is an actor."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._said: list[Message | None] = []

    async def send(self, message: Message) -> None:
        """See `Connection`; input pictures travel with it."""
        files: dict[str, bytes] = {}
        message = {**message, "jobs": [dict(job) for job in message.get("jobs", [])]}
        if not message["jobs"]:
            del message["jobs"]
        for job in message.get("jobs", [message]):
            if "inputs" in job:
                paths = {field: Path(one) for field, one in job["inputs"].items()}
                files |= {path.name: path.read_bytes() for path in paths.values()}
                job["inputs"] = {field: path.name for field, path in paths.items()}
        try:
            await self._actor.hear.remote(message, files)
        except _errors() as error:
            raise BrokenPipeError(str(error)) from None

    async def receive(self) -> Message | None:
        """See `Connection`."""
        while not self._said:
            try:
                self._said = await self._actor.say.remote()
            except _errors():
                return None
        return self._said.pop(0)

    async def close(self, patience: float) -> None:
        """See `Connection`."""
        self.kill()

    def kill(self) -> None:
        """See `Connection`."""
        import ray

        ray.kill(self._actor)


class RayLauncher:
    """Starts workers on a cluster.

    Args:
        address: of the cluster's head, "auto" for one that runs here; None starts one of this
            machine alone.
        cpus, gpus: what each worker takes of its machine.
    """

    def __init__(self, address: str | None = None, cpus: float = 1, gpus: float = 0) -> None:
        self._cpus, self._gpus = cpus, gpus
        join(address)

    async def __call__(self) -> Connection:
        """See `Launcher`: it waits until a machine has room."""
        import ray

        actor = ray.remote(Remote).options(
            num_cpus=self._cpus, num_gpus=self._gpus, max_concurrency=4, max_restarts=0
        )
        return RayConnection(actor.remote())


def _errors() -> tuple[type[BaseException], ...]:
    """What a call to a dead actor raises."""
    from ray.exceptions import RayError

    return (RayError,)
