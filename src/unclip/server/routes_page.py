"""The web page: files that are built from `studio/` and lie in the package."""

from __future__ import annotations

import re
from pathlib import Path

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from . import errors

routes = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parents[1] / "web"
"""`index.html`, and `static/` with files whose names say what is in them."""
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
KINDS = {
    "css": "text/css; charset=utf-8",
    "ico": "image/x-icon",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff2": "font/woff2",
}
"""A file's suffix -> content type; no others are served."""
FOR_EVER = "public, max-age=31536000, immutable"
_NAME = re.compile(r"[\w-]+(?:\.[\w-]+)*\.([a-z0-9]+)", re.ASCII)
READ = ["GET", "HEAD"]


@routes.api_route("/", methods=READ)
async def page() -> Response:
    """The page itself, which is asked for anew each time."""
    data = await run_in_threadpool(_read, FOLDER / "index.html")
    if data is None:
        raise errors.not_found("This server has no page: `make studio` builds it.")
    kept = {"cache-control": "no-cache", "content-security-policy": POLICY}
    return Response(data, media_type="text/html; charset=utf-8", headers=kept)


@routes.api_route("/static/{name}", methods=READ)
async def static(request: Request, name: str) -> Response:
    """A file of the page. No name leads out of its folder."""
    known = _NAME.fullmatch(name)
    kind = KINDS.get(known[1]) if known else None
    data = await run_in_threadpool(_read, FOLDER / "static" / name) if kind else None
    if data is None:
        raise errors.no_route(request.method, request.url.path)
    kept = {"cache-control": FOR_EVER, "content-security-policy": POLICY}
    return Response(data, media_type=kind, headers=kept)


def _read(path: Path) -> bytes | None:
    """A file; None where there is none."""
    try:
        return path.read_bytes()
    except OSError:
        return None
