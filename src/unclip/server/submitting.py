"""Gives a job to the engine, and says what may be wrong as an API does."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from . import errors
from .context import Serving, owner, serving
from .job import Job, Spec
from .refusals import Draining, Refused
from .store import QueueFull

MOST_RETRY = 60
"""Largest Retry-After that every client obeys."""
AGAIN = 5
"""Seconds after which a server that starts or stops may take jobs."""
STOPPING = "The server is stopping: ask again in a moment."


def check_taking(here: Serving) -> None:
    """Raise ApiError where no job is taken: the model is loading, or the server stops."""
    if here.engine.draining:
        raise errors.unavailable(STOPPING, retry_after=AGAIN)
    if not here.engine.models:
        raise errors.unavailable("The model is loading: ask again in a moment.", retry_after=AGAIN)


async def check_room(request: Request) -> None:
    """Raise ApiError where the queue is full for who asks, before a body is read."""
    here = serving(request)
    if await room_left(here, owner(request)) <= 0:
        raise _full(here)


async def room_left(here: Serving, owner: str) -> int:
    """How many more jobs of an owner may wait."""
    waiting, own = await run_in_threadpool(here.engine.store.waiting, owner)
    return min(here.options.most_queued - waiting, here.options.most_each - own)


def _full(here: Serving) -> errors.ApiError:
    seconds = math.ceil(here.engine.figures.job_seconds())
    return errors.busy(min(MOST_RETRY, max(1, seconds)))


async def submit(request: Request, spec: Spec, **more: Any) -> Job:
    """The job that a request becomes, or joins; `more` as for `Engine.submit`. Raises ApiError."""
    here = serving(request)
    record, marked = here.options.record, here.options.marked
    spec = replace(spec, finish=replace(spec.finish, record=record, marked=marked))
    try:
        return await here.engine.submit(owner(request), spec, **more)
    except QueueFull:
        raise _full(here) from None
    except Draining:
        raise errors.unavailable(STOPPING, retry_after=AGAIN) from None
    except Refused as error:
        raise errors.of_failure(error.failure) from None
