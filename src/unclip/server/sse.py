"""Server-sent events, with a sign of life, and waiting for what a client may not wait for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse

T = TypeVar("T")

LAST = 0.5
"""Seconds after the server has stopped in which what has just ended is told."""
BEAT = 10.0
"""Seconds without an event after which a comment is sent: proxies close what is silent."""


def event(data: Mapping[str, Any], kind: str = "", number: int | None = None) -> bytes:
    """One event."""
    lines = [f"id: {number}"] if number is not None else []
    lines += [f"event: {kind}"] if kind else []
    lines.append(f"data: {json.dumps(data, separators=(',', ':'))}")  # has no line breaks
    return ("\n".join(lines) + "\n\n").encode()


def stream(
    events: AsyncIterator[bytes],
    stopped: asyncio.Event,
    headers: Mapping[str, str] | None = None,
) -> StreamingResponse:
    """An answer of events, which ends when the server has stopped."""
    kept = {"x-accel-buffering": "no", "cache-control": "no-store", **(headers or {})}
    return StreamingResponse(beating(events, stopped), 200, kept, "text/event-stream")


async def beating(
    events: AsyncIterator[bytes], stopped: asyncio.Event, seconds: float = BEAT
) -> AsyncIterator[bytes]:
    """Events, and a comment where none comes for so long."""
    iterator = aiter(events)
    stopping = asyncio.ensure_future(stopped.wait())
    coming: asyncio.Future[bytes] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(_next(iterator))
            await _either(coming, stopping, seconds)
            if coming.done():
                if isinstance(coming.exception(), _Ended):
                    return
                one, coming = coming.result(), None
                yield one
            elif stopping.done():
                return
            else:
                yield b": waiting\n\n"
    finally:
        await _stop(stopping)
        await _stop(coming)
        if closing := getattr(iterator, "aclose", None):
            await closing()


async def _either(
    coming: asyncio.Future[bytes], stopping: asyncio.Future[Any], seconds: float
) -> None:
    """Wait for the next event, and not long where the server stops."""
    both: set[asyncio.Future[Any]] = {coming, stopping}
    await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    if stopping.done():
        await asyncio.wait({coming}, timeout=LAST)


async def _next(iterator: AsyncIterator[bytes]) -> bytes:
    try:
        return await anext(iterator)
    except StopAsyncIteration as end:  # which a future cannot hold
        raise _Ended from end


class _Ended(Exception):
    """There are no more events."""


async def _stop(task: asyncio.Future[Any] | None) -> None:
    if task is None:
        return
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task


async def while_there(
    request: Request, work: Awaitable[T], stopped: asyncio.Event, seconds: float
) -> T | None:
    """What `work` gives; None where the server has stopped before.

    Raises:
        ClientDisconnect: the client left before.
        TimeoutError: it took longer than so many seconds.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request))
    stopping = asyncio.ensure_future(stopped.wait())
    every: set[asyncio.Future[Any]] = {working, leaving, stopping}
    try:
        done, _ = await asyncio.wait(every, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if working in done:
            return working.result()
        if leaving in done:
            raise ClientDisconnect
        if not done:
            raise TimeoutError
        await asyncio.wait({working}, timeout=LAST)
        return working.result() if working.done() else None
    finally:
        for task in every:
            if not task.done():
                await _stop(task)


async def _gone(request: Request) -> None:
    """Return when the client has left; its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
