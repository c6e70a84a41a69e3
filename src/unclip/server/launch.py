"""Starts the worker's process and talks to it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from . import protocol
from .protocol import Message

LONG = 2**16
"""Bytes of a line, such as one with pictures, from which another thread reads it."""

COMMAND = (sys.executable, "-m", "unclip.server.worker")


class Connection(Protocol):
    """A running worker."""

    async def send(self, message: Message) -> None:
        """Say something. Raises OSError where it has died."""

    async def receive(self) -> Message | None:
        """The next message; None where it has ended."""

    async def close(self, patience: float) -> None:
        """Let it end; kill it where that takes more than `patience` seconds."""

    def kill(self) -> None:
        """End it now."""


class Launcher(Protocol):
    """Starts a worker."""

    async def __call__(self) -> Connection:
        """A new worker."""


class Subprocess:
    """A worker in a process of its own, which does not get the terminal's signals."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        assert process.stdin is not None and process.stdout is not None
        self._to, self._from = process.stdin, process.stdout

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    async def send(self, message: Message) -> None:
        """See `Connection`."""
        self._to.write(protocol.encode(message))
        await self._to.drain()

    async def receive(self) -> Message | None:
        """See `Connection`."""
        try:
            line = await self._from.readline()
        except (OSError, ValueError):
            return None
        if not line.endswith(b"\n"):
            return None
        if len(line) < LONG:
            return protocol.decode(line)
        return await asyncio.to_thread(protocol.decode, line)  # meanwhile others are answered

    async def close(self, patience: float) -> None:
        """See `Connection`."""
        with suppress(OSError, RuntimeError):
            self._to.close()
        try:
            await asyncio.wait_for(self._process.wait(), patience)
        except TimeoutError:
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        """See `Connection`."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


class SubprocessLauncher:
    """Starts `COMMAND`, or what tests give in its place."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = command

    async def __call__(self) -> Connection:
        """See `Launcher`."""
        pipe = asyncio.subprocess.PIPE
        return Subprocess(
            await asyncio.create_subprocess_exec(
                *self._command,
                stdin=pipe,
                stdout=pipe,
                limit=protocol.LONGEST,
                start_new_session=True,
            )
        )
