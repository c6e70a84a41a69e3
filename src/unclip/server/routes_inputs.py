"""The pictures that jobs begin from, for a page that shows them beside what came of them."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from . import errors
from .context import serving
from .routes_jobs import DIGEST
from .schemas import files

routes = APIRouter(prefix="/v1", tags=["Pictures"])

KINDS = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}
"""How files begin: all that can be stored."""


@routes.get("/inputs/{id}", response_model=None, responses=files(*KINDS.values()))
async def input_file(request: Request, id: str) -> Response:
    """A stored picture, by the digest that an upload answers and that a job's `inputs` name.

    Who knows the digest of all its bytes has had the picture, so no owner is asked for.
    """
    missing = errors.not_found("There is no such picture.")
    if not DIGEST.fullmatch(id):
        raise missing
    path = serving(request).engine.store.input_path(id)
    try:
        data = await run_in_threadpool(path.read_bytes)
    except FileNotFoundError:  # never there, or retention took it
        raise missing from None
    kind = next((name for begin, name in KINDS.items() if data.startswith(begin)), None)
    kept = {"cache-control": "private, max-age=86400, immutable"}
    return Response(data, media_type=kind or "application/octet-stream", headers=kept)
