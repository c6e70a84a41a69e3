"""Jobs: every ability, followed from the queue to the pictures, and what there is to ask for."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast, get_args

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from . import abilities, errors, sse
from .asked import Asked, number, truth
from .context import Serving, owner, serving
from .job import ENDED, Drawn, Finish, Format, Job, Spec, State
from .reading import read_json
from .schemas import Schema, answers, json_body, names_of, object_of, streams, text
from .shapes import ASKED, FINISH, JOB, JOB_EVENTS, JOBS
from .submitting import check_room, check_taking, submit

routes = APIRouter(prefix="/v1", tags=["Jobs"])

MOST_LISTED = 200
LARGEST = 4096
"""Most pixels along a side of a delivered picture."""
ID = re.compile(r"[0-9a-f]{32}")
DIGEST = re.compile(r"[0-9a-f]{64}")


def bodies() -> dict[str, Schema]:
    """What `create_job` reads: a schema an ability, with the fields of its request, by its name."""
    every = abilities.drawing()
    return {f"Ask{name.title()}": _body(name, abilities.describe(name)) for name in every}


def _body(name: str, told: dict[str, Any]) -> Schema:
    takes = told["inputs"]
    needed = [key for key, one in takes.items() if one["required"] and not one["or_text"]]
    inputs = object_of(needed, **{key: text(one["description"]) for key, one in takes.items()})
    known = {**ASKED["properties"], "ability": text(told["help"], enum=[name])}
    required = ["ability", *(["fields"] if told["fields"]["required"] else [])]
    required += ["inputs"] if needed else []
    return object_of(required, **{**known, "fields": told["fields"], "inputs": inputs})


@routes.post(
    "/jobs",
    response_model=None,
    status_code=202,
    responses=answers(JOB, status=202),
    openapi_extra=json_body(ASKED),
)
async def create_job(request: Request) -> Response:
    """Ask for pictures; the job goes on whether anybody waits for it or not."""
    here = serving(request)
    check_taking(here)
    await check_room(request)
    asked = Asked(await read_json(request), frozenset(ASKED["properties"]))
    inputs = {
        name: await stored(request, f"inputs.{name}", one)
        for name, one in asked.texts("inputs").items()
    }
    model, finish = model_of(asked, here), _finish(asked)
    ability, fields = asked.text("ability"), asked.section("fields")
    spec = await run_in_threadpool(abilities.spec_of, ability, fields, inputs, model)
    job = await submit(request, replace(spec, finish=finish), kept=True)
    request.scope["state"]["log"] = _logged(here, spec, job)
    return JSONResponse(await shown(request, job), 202, {"location": f"/v1/jobs/{job.id}"})


@routes.get("/jobs", response_model=None, responses=answers(JOBS))
async def list_jobs(
    request: Request, state: str = "", limit: str = "50", before: str = ""
) -> Response:
    """Own jobs, newest first."""
    if state and state not in get_args(State):
        known = ", ".join(get_args(State))
        raise errors.invalid("state", f"Invalid value: {state!r}. Supported values are: {known}.")
    store, most = serving(request).engine.store, number("limit", limit, 1, MOST_LISTED)
    which = cast(State, state) if state else None
    jobs = await run_in_threadpool(store.jobs, owner(request), which, most, before or None)
    return JSONResponse({"data": [await shown(request, one) for one in jobs]})


@routes.get("/jobs/{id}", response_model=None, responses=answers(JOB))
async def get_job(request: Request, id: str) -> Response:
    """One job."""
    return JSONResponse(await shown(request, await own_job(request, id)))


@routes.get("/jobs/{id}/events", response_model=None, responses=streams(JOB_EVENTS))
async def job_events(
    request: Request, id: str, after: str = "", previews: str = "true"
) -> Response:
    """What happens to a job, as it happens: queued, started, step, preview, done ...

    A client that comes back sends the number of the last event in Last-Event-ID. One that does not
    show previews says so, and none are made for it.
    """
    job = await own_job(request, id)
    last = after or request.headers.get("last-event-id", "") or "0"
    first = number("after", last, 0, 2**53)
    told = _told(request, job, first, truth("previews", previews))
    return sse.stream(told, serving(request).stopped)


@routes.post("/jobs/{id}/cancel", response_model=None, responses=answers(JOB))
@routes.delete("/jobs/{id}", response_model=None, responses=answers(JOB))
async def cancel_job(request: Request, id: str) -> Response:
    """Stop a job that has not ended; one that has stays as it is."""
    job, engine = await own_job(request, id), serving(request).engine
    if job.state not in ENDED:
        await engine.cancel(job.id)
    return JSONResponse(await shown(request, await own_job(request, id)))


def model_of(asked: Asked, here: Serving) -> str:
    """A served model's name; the first where none is asked for."""
    name, served = asked.text("model"), here.served
    name = served.aliases.get(name, name)
    if name and name not in served.models:
        raise errors.not_found_model(name)
    return name or served.models[0]


def _finish(asked: Asked) -> Finish:
    """How the pictures are delivered."""
    inner = Asked(asked.section("finish"), names_of(FINISH), "finish.")
    size, form = inner.values.get("size"), inner.text("format") or "png"
    if form not in get_args(Format):
        raise inner.wrong("format", f"one of {', '.join(get_args(Format))}")
    if size is not None and not _is_size(size):
        raise inner.wrong("size", f"[width, height], each from 1 to {LARGEST}")
    quality = inner.whole("quality", 1, 100, 95)
    return Finish((size[0], size[1]) if size else None, cast(Format, form), quality)


def _is_size(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    return all(type(one) is int and 1 <= one <= LARGEST for one in value)


async def own_job(request: Request, id: str) -> Job:
    """A job of who asks; another's is as if it were not there. Raises ApiError."""
    store = serving(request).engine.store
    job = await run_in_threadpool(store.job, id) if ID.fullmatch(id) else None
    if job is None or job.owner != owner(request):
        raise errors.not_found("There is no such job.")
    return job


async def shown(request: Request, job: Job) -> dict[str, Any]:
    """A job as JSON."""
    here, spec = serving(request), job.spec
    queued = job.state == "queued"
    place = await run_in_threadpool(here.engine.store.place, job.id) if queued else None
    return {
        "id": job.id,
        "ability": spec.ability,
        "fields": spec.fields,
        "inputs": spec.inputs,
        "model": spec.model,
        "finish": asdict(spec.finish),
        "state": job.state,
        "place": place,
        "created": job.created,
        "started": job.started,
        "finished": job.finished,
        "failure": asdict(job.failure) if job.failure else None,
        "pictures": [picture(here, request, one) for one in job.pictures],
    }


def picture(here: Serving, request: Request, drawn: Drawn) -> dict[str, Any]:
    """A picture as JSON."""
    return {**asdict(drawn), "url": here.url(request, drawn)}


async def _told(request: Request, job: Job, after: int, previews: bool) -> AsyncIterator[bytes]:
    """The events of a job; the last has the job itself."""
    engine = serving(request).engine
    with engine.attending(job.id):
        async for one in engine.events(job.id, after, None if previews else 0):
            data = one.data
            if one.kind in ENDED:
                data = {**data, "job": await shown(request, await own_job(request, job.id))}
            yield sse.event(data, one.kind, one.number)


async def stored(request: Request, where: str, id: str) -> tuple[str, Path]:
    """The digest and the path of an uploaded or drawn picture.

    Args:
        where: the parameter that names it.

    Raises:
        ApiError: there is none.
    """
    store = serving(request).engine.store
    missing = errors.invalid(where, f"{where}: there is no such picture.")
    if DIGEST.fullmatch(id):
        path = store.input_path(id)
        if not path.is_file():
            raise missing
        return id, path
    found = await run_in_threadpool(store.picture, id) if ID.fullmatch(id) else None
    if found is None or found.owner != owner(request):
        raise missing
    try:
        digest = await run_in_threadpool(lambda: store.put_input(found.path.read_bytes()))
    except FileNotFoundError:  # retention was quicker
        raise missing from None
    return digest, store.input_path(digest)


def picture_id(id: str) -> str:
    """An id. Raises ApiError where it cannot be one."""
    if not ID.fullmatch(id):
        raise errors.not_found("There is no such picture.")
    return id


def _logged(here: Serving, spec: Spec, job: Job) -> dict[str, Any]:
    told: dict[str, Any] = {"job": job.id, "model": spec.model, "ability": spec.ability}
    if here.options.log_prompts and "prompt" in spec.fields:
        told["prompt"] = spec.fields["prompt"]
    return told
