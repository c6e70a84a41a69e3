"""`python -m tests.server.plain_worker`: the worker of `fakes` as a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys

from unclip.server import protocol

from .fakes import FakeWorker


async def main() -> None:
    """Serve stdin and stdout until stdin ends."""
    loop, out = asyncio.get_running_loop(), os.fdopen(os.dup(1), "wb")
    lines = asyncio.StreamReader(limit=protocol.LONGEST)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    fake = FakeWorker()
    worker = await fake()

    async def answer() -> None:
        while (message := await worker.receive()) is not None:
            out.write(protocol.encode(message))
            out.flush()

    answering = asyncio.create_task(answer())
    while line := await lines.readline():
        await worker.send(protocol.decode(line))
        for kept in (fake.drawn, fake.cancelled, fake.watched):
            kept.clear()  # they are for tests in the same process
    answering.cancel()


if __name__ == "__main__":
    asyncio.run(main())
