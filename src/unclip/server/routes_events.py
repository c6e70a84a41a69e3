"""One stream of what happens to all own jobs and pictures: a browser has but six connections."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from . import sse
from .asked import truth
from .context import owner, serving
from .feed import News
from .job import ENDED
from .routes_jobs import MOST_LISTED, shown
from .schemas import streams
from .shapes import EVENTS

routes = APIRouter(prefix="/v1", tags=["Jobs"])

RECENT = 60.0
"""Seconds after its end in which a job is told of at first."""


@routes.get("/events", response_model=None, responses=streams(EVENTS))
async def all_events(request: Request, previews: str = "true") -> Response:
    """What happens to all own jobs and pictures, as it happens.

    First `jobs`: those that have not ended, and those that ended in the last minute, newest first;
    again, with `missed`, where a client reads too slowly to be told of everything. Then `job`: a
    whole job, when it is made and when it has ended; each of its events, as
    /v1/jobs/{id}/events tells them, with the job's id in `job`; and `pictures`: the `ids` of those
    that were "changed", "deleted" or "restored".
    """
    told = _told(request, truth("previews", previews))
    return sse.stream(told, serving(request).stopped)


async def _told(request: Request, previews: bool) -> AsyncIterator[bytes]:
    engine = serving(request).engine
    async with engine.following(owner(request), previews) as feed:
        known, first = await _current(request)
        yield sse.event({"jobs": first, "missed": False}, "jobs")
        while True:
            news = await feed.next()
            if news is None:
                known, now = await _current(request)
                yield sse.event({"jobs": now, "missed": True}, "jobs")
                continue
            for one in await _of(request, news, known):
                yield one


async def _current(request: Request) -> tuple[set[str], list[dict[str, Any]]]:
    """The ids of jobs that have not ended, and those and others as JSON."""
    store, since = serving(request).engine.store, time.time() - RECENT
    found = await run_in_threadpool(store.current, owner(request), since, MOST_LISTED)
    alive = {job.id for job in found if job.state not in ENDED}
    return alive, [await shown(request, job) for job in found]


async def _of(request: Request, news: News, known: set[str]) -> list[bytes]:
    """The events of something that happened; those of a job begin and end with the job itself."""
    if not news.job:
        return [sse.event(news.data, news.kind)]
    told, ended = [], news.kind in ENDED
    if ended or news.job not in known:
        known.add(news.job)
        engine = serving(request).engine
        asked = engine.wait(news.job) if ended else run_in_threadpool(engine.store.job, news.job)
        job = await asked
        told += [sse.event({"job": await shown(request, job)}, "job")] if job else []
    if ended:
        known.discard(news.job)
    return [*told, sse.event({**news.data, "job": news.job}, news.kind)]
