"""OpenAI's Images API: what a client asks becomes a job, and what was drawn its answer."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from . import errors, openai, sse
from .context import Serving, serving
from .errors import ApiError
from .job import ENDED, Drawn, Event, Job
from .middleware import LOG
from .openai import Call
from .reading import is_form, read_json, read_parts
from .schemas import EDIT, GENERATION, IMAGES, MODEL, MODELS, VARIATION, answers, body
from .submitting import STOPPING, check_room, check_taking, room_left, submit

MARGIN = 1.0
"""Seconds before a client's time limit at which it gets an answer; of short limits a tenth."""

routes = APIRouter(tags=["OpenAI"])

Kind = Literal["generations", "edits", "variations"]
PREFIXES = (
    "/v1/images",
    "/openai/v1/images",
    "/openai/images",
    "/openai/deployments/{model}/images",
)
"""OpenAI's, then Azure's."""


async def generations(request: Request) -> Response:
    """Draw pictures of a prompt."""
    return await _answer(request, await _call(request, "generations"))


async def edits(request: Request) -> Response:
    """Repaint a part of a picture."""
    return await _answer(request, await _call(request, "edits"))


async def variations(request: Request) -> Response:
    """Draw variations of a picture."""
    return await _answer(request, await _call(request, "variations"))


for prefix in PREFIXES:
    shown = prefix.startswith("/v1")
    for name, function, read in (
        ("generations", generations, GENERATION),
        ("edits", edits, EDIT),
        ("variations", variations, VARIATION),
    ):
        routes.add_api_route(
            f"{prefix}/{name}",
            function,
            methods=["POST"],
            response_model=None,
            include_in_schema=shown,
            responses=answers(IMAGES, events=True),
            openapi_extra=body(read),
        )


@routes.get("/v1/models", responses=answers(MODELS), response_model=None)
@routes.get("/openai/models", include_in_schema=False, response_model=None)
@routes.get("/openai/v1/models", include_in_schema=False, response_model=None)
async def models(request: Request) -> Response:
    """List the models that are served."""
    return JSONResponse(openai.models_list(serving(request).served))


@routes.get("/v1/models/{name:path}", responses=answers(MODEL), response_model=None)
@routes.get("/openai/models/{name:path}", include_in_schema=False, response_model=None)
@routes.get("/openai/v1/models/{name:path}", include_in_schema=False, response_model=None)
async def model(request: Request, name: str) -> Response:
    """One of the models that are served."""
    return JSONResponse(openai.model_object(name, 0, serving(request).served))


async def _call(request: Request, kind: Kind) -> Call:
    """What a request asks for. Raises ApiError."""
    here = serving(request)
    check_taking(here)
    if not _is_retry(request):
        await check_room(request)
    served, named = here.served, request.path_params.get("model")
    if kind == "generations":
        return openai.generation(await read_json(request), served, named)
    if kind == "edits":
        most = here.options.body_bytes
        asked: Any = await (read_parts(request) if is_form(request) else read_json(request, most))
        return await run_in_threadpool(openai.edit, asked, served, named)
    return await run_in_threadpool(openai.variation, await read_parts(request), served, named)


async def _answer(request: Request, call: Call) -> Response:
    """Draw, and answer when it is done, or as it goes on."""
    here, created, began = serving(request), int(time.time()), time.monotonic()
    spec, join = openai.spec_of(call, {}), _is_retry(request)
    mark = openai.fingerprint(call)
    loose = call.stream or call.response_format == "b64_json"  # the answer has the pictures
    job = await submit(request, spec, files=call.files, fingerprint=mark, join=join, loose=loose)
    request.scope["state"]["log"] = _logged(here, call, job)
    if call.stream:
        events = _events(request, call, job, created)
        return sse.stream(events, here.stopped, await limits(here, job))
    job = await _ended(request, job, began + _patience(request, here))
    pictures = [(one, await _bytes(here, call, one)) for one in job.pictures]
    body = openai.reply(call, pictures, created, lambda drawn: here.url(request, drawn))
    headers = {**await limits(here, job), "x-unclip-size": reached(job.pictures)}
    return JSONResponse(body, headers=headers)


async def _bytes(here: Serving, call: Call, drawn: Drawn) -> bytes:
    """Of the file, where the answer has it."""
    return await here.engine.read(drawn) if call.response_format == "b64_json" else b""


async def _ended(request: Request, job: Job, until: float) -> Job:
    """The job when it is done.

    Args:
        until: when the client goes, by the monotonic clock.

    Raises:
        ApiError: it failed, or takes longer.
    """
    here = serving(request)
    seconds, waiting = max(0.01, until - time.monotonic()), here.engine.wait(job.id)
    with here.engine.attending(job.id):
        try:
            ended = await sse.while_there(request, waiting, here.stopped, seconds)
        except TimeoutError:
            raise _NotReady(
                503,
                f"The pictures were not ready in {seconds:.0f} seconds: ask again to wait on.",
                "server_error",
                code="timeout",
                retry_after=1,
            ) from None
    return done(ended)


class _NotReady(ApiError):
    """The client's time is up; its retry joins the job, best before that has ended."""

    def headers(self) -> dict[str, str]:
        """OpenAI's clients prefer the finer one."""
        return super().headers() | {"retry-after-ms": "10"}


def done(job: Job | None) -> Job:
    """The job. Raises ApiError unless it is done."""
    if job is None or job.state not in ENDED:
        raise errors.unavailable(STOPPING, retry_after=5)
    if job.failure is not None:
        raise errors.of_failure(job.failure)
    if job.state != "done":
        raise errors.invalid(None, "The job was cancelled.", "cancelled")
    return job


def _patience(request: Request, here: Serving) -> float:
    """Seconds that the client waits, less a margin to answer in."""
    said = [_number(request, name) for name in ("x-stainless-read-timeout", "x-stainless-timeout")]
    known = [one for one in said if one is not None and one > 0]
    limit = min([*known, here.options.wait_seconds])
    return limit - min(MARGIN, limit / 10)


def _is_retry(request: Request) -> bool:
    """Whether a client asks again."""
    return (_number(request, "x-stainless-retry-count") or 0) >= 1


def _number(request: Request, header: str) -> float | None:
    """A header's number; None where it has none."""
    try:
        value = float(request.headers.get(header, ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


async def limits(here: Serving, job: Job) -> dict[str, str]:
    """Headers that say how much may still be asked, and which job it is."""
    return {
        "x-ratelimit-limit-requests": str(here.options.most_each),
        "x-ratelimit-remaining-requests": str(max(0, await room_left(here, job.owner))),
        "x-ratelimit-reset-requests": f"{math.ceil(here.engine.figures.job_seconds())}s",
        **({} if here.engine.keeper.is_kept(job.id) else {"x-unclip-kept": "no"}),
        "x-unclip-job": job.id,
    }


def reached(pictures: tuple[Drawn, ...]) -> str:
    """How the pictures got their size: 'native', or 'resampled from 64x64'."""
    ways = {
        "native"
        if (one.width, one.height) == one.native
        else f"resampled from {one.native[0]}x{one.native[1]}"
        for one in pictures
    }
    return ", ".join(sorted(ways))


def _logged(here: Serving, call: Call, job: Job) -> Mapping[str, Any]:
    """What the log says of it."""
    told = {"job": job.id, "model": call.model, "pictures": job.spec.pictures}
    if here.options.log_prompts and "prompt" in call.fields:
        told["prompt"] = call.fields["prompt"]
    return told


async def _events(request: Request, call: Call, job: Job, created: int) -> AsyncIterator[bytes]:
    """Previews, then each picture; an error as the clients read it."""
    here, previews = serving(request), _Previews(call.partial_images)
    with here.engine.attending(job.id):
        try:
            async for one in here.engine.events(job.id, previews=call.partial_images):
                for index, picture in previews.of(one):
                    kind, data = openai.partial_event(call, index, picture, created)
                    yield sse.event(data, kind)
            for drawn in done(await here.engine.wait(job.id)).pictures:
                picture = await here.engine.read(drawn)
                kind, data = openai.completed_event(call, drawn, picture, created)
                yield sse.event(data, kind)
        except ApiError as error:
            yield sse.event(error.body())
        except Exception:  # noqa: BLE001 - the answer has begun: it can only end with an error
            LOG.exception("the stream of job %s failed", job.id)
            yield sse.event(errors.internal().body())


class _Previews:
    """Picks as many previews as are wanted, spread over the steps."""

    def __init__(self, most: int) -> None:
        self.most, self.sent, self.share = most, 0, 0.0

    def of(self, event: Event) -> list[tuple[int, bytes]]:
        """The number and the file of what an event shows, where it is picked."""
        self.share = max(self.share, float(event.data.get("share", 0.0)))
        due = self.sent < self.most and self.share >= self.sent / (self.most + 1)
        if event.kind != "preview" or event.data["index"] or not due:
            return []
        self.sent += 1
        return [(self.sent - 1, base64.b64decode(event.data["picture"]))]
