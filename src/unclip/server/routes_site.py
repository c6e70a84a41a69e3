"""What is no part of an API: probes, counters, pictures by their address, and logging in."""

from __future__ import annotations

import re
import time

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from . import errors
from .auth import COOKIE, SESSION_SECONDS, Session, session_of
from .context import owner, serving
from .options import Key
from .reading import read_json
from .schemas import STATUS, answers, files, json_body
from .shapes import LOGIN, SESSION
from .submitting import check_taking

routes = APIRouter()

_NAME = re.compile(r"([0-9a-f]{32})\.(png|jpeg|webp)")
GONE = "There is no such picture, or its address has expired."


@routes.get("/healthz", response_model=None, responses=answers(STATUS), tags=["Probes"])
async def healthz() -> Response:
    """Whether the process answers."""
    return JSONResponse({"status": "ok"})


@routes.get("/readyz", response_model=None, responses=answers(STATUS), tags=["Probes"])
async def readyz(request: Request) -> Response:
    """Whether it draws: 503 while the model loads, while a worker starts, and while it stops."""
    here = serving(request)
    check_taking(here)
    if not here.engine.ready:
        raise errors.unavailable("The worker is starting.", retry_after=1)
    return JSONResponse({"status": "ready"})


@routes.get("/metrics", response_model=None, responses=files("text/plain"), tags=["Probes"])
async def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    data = await run_in_threadpool(serving(request).metrics.text)
    return Response(data, media_type="text/plain; version=0.0.4; charset=utf-8")


@routes.api_route("/files/{name}", methods=["GET", "HEAD"], include_in_schema=False)
async def file(request: Request, name: str) -> Response:
    """A picture by its address, which needs no key and is not valid for long."""
    here, known = serving(request), _NAME.fullmatch(name)
    if known is None:
        raise errors.not_found(GONE)
    found = await run_in_threadpool(here.engine.store.picture, known[1])
    if found is None or found[0].format != known[2]:
        raise errors.not_found(GONE)
    drawn, path, _, created = found
    left = created + 60 * here.options.url_minutes - time.time()
    if left <= 0:
        raise errors.not_found(GONE)
    try:
        data = await run_in_threadpool(path.read_bytes)
    except OSError:
        raise errors.not_found(GONE) from None
    headers = {
        "cache-control": f"private, max-age={left:.0f}, immutable",
        "content-disposition": f'inline; filename="{name}"',
        "content-security-policy": "default-src 'none'; sandbox",
        "cross-origin-resource-policy": "cross-origin",
        "accept-ranges": "none",
    }
    return Response(data, media_type=f"image/{drawn.format}", headers=headers)


@routes.get("/v1/session", response_model=None, responses=answers(SESSION), tags=["Session"])
async def get_session(request: Request) -> Response:
    """Who asks, and the token that a browser sends in x-csrf-token."""
    here = serving(request)
    found = session_of(request.headers, here.options)
    return JSONResponse(
        {
            "needs_key": bool(here.options.keys),
            "owner": owner(request) or None,
            "csrf": found[0].csrf(found[1]) if found else None,
        }
    )


@routes.post(
    "/v1/session",
    response_model=None,
    responses=answers(SESSION),
    openapi_extra=json_body(LOGIN),
    tags=["Session"],
)
async def log_in(request: Request) -> Response:
    """Log a browser in with a key: it gets a cookie, and a token for x-csrf-token."""
    options, key = serving(request).options, (await read_json(request)).get("key")
    if not isinstance(key, str) or not key:
        raise errors.invalid("key", "key must be an API key.")
    known = _key_of(options.keys, options.owner_of(key))
    if known is None:
        raise errors.unauthorized()
    session = Session.new(known.owner)
    told = {"needs_key": True, "owner": known.owner, "csrf": session.csrf(known)}
    response = JSONResponse(told)
    secure = request.url.scheme == "https" or options.public_url.startswith("https:")
    response.set_cookie(
        COOKIE,
        session.cookie(known),
        max_age=SESSION_SECONDS,
        path=options.root_path or "/",
        secure=secure,
        httponly=True,
        samesite="strict",
    )
    return response


@routes.delete("/v1/session", response_model=None, responses=answers(STATUS), tags=["Session"])
async def log_out(request: Request) -> Response:
    """Take the cookie away, and what the browser has kept of this server."""
    response = JSONResponse({"status": "ok"}, headers={"clear-site-data": '"cache"'})
    response.delete_cookie(COOKIE, path=serving(request).options.root_path or "/")
    return response


def _key_of(keys: tuple[Key, ...], owner: str | None) -> Key | None:
    return next((key for key in keys if key.owner == owner), None)
