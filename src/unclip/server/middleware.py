"""What every request goes through, in pure ASGI, outermost first.

`Envelope` numbers, times, counts and logs a request, and turns what no route caught into an
error's body. `Root` takes a proxy's path away. `auth` asks who it is. `Limits` bounds the body.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import errors
from .errors import ApiError
from .metrics import Metrics
from .options import ServeOptions

LOG = logging.getLogger("unclip.server")

_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
BYTES_A_SECOND = 16 * 2**10
"""Slowest upload."""
QUIET = ("/healthz", "/readyz", "/metrics")
"""Asked again and again: logged where something is wrong alone."""
CLIENT_GONE = 499
"""Logged where a client did not wait for the answer."""


def error_response(error: ApiError) -> JSONResponse:
    """An error as OpenAI's clients read it."""
    unread = {"connection": "close"} if error.status in (408, 413) else {}  # the rest of the body
    return JSONResponse(error.body(), error.status, error.headers() | unread)


def _too_large(most: int) -> ApiError:
    return errors.too_large(f"The body of a request has at most {most:,} bytes.")


def _too_slow(seconds: float) -> ApiError:
    text = f"The body of the request did not come within {seconds:.0f} seconds."
    return ApiError(408, text, code="request_timeout", should_retry=False)


@dataclass
class _Exchange:
    """A request and its answer so far."""

    id: str
    began: float = field(default_factory=time.perf_counter)
    status: int = 0

    @property
    def ms(self) -> float:
        return 1000 * (time.perf_counter() - self.began)


class Envelope:
    """Numbers and times a request, logs it, and answers what no route caught."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._no_socket(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        own = asked if _ID.fullmatch(asked) else f"req_{secrets.token_hex(16)}"
        exchange = _Exchange(own)
        scope.setdefault("state", {})["request_id"] = exchange.id

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                _label(message, exchange)
            await send(message)

        with self.metrics.in_flight.track_inprogress():
            try:
                await self.app(scope, receive, sending)
            except ClientDisconnect:
                exchange.status = exchange.status or CLIENT_GONE
            except ApiError as error:
                await _answer(error, exchange, scope, receive, sending)
            except Exception:
                LOG.exception("request %s failed", exchange.id)
                await _answer(errors.internal(), exchange, scope, receive, sending)
        self._note(scope, exchange)

    async def _no_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """There is no WebSocket."""
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self.app(scope, receive, send)

    def _note(self, scope: Scope, exchange: _Exchange) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self.metrics.answered(scope["method"], route, exchange.status, exchange.ms / 1000)
        if scope["path"] in QUIET and exchange.status == 200:
            return
        log(
            "request",
            request_id=exchange.id,
            method=scope["method"],
            path=scope["path"],
            status=exchange.status,
            ms=round(exchange.ms, 1),
            owner=scope["state"].get("owner") or None,
            **scope["state"].get("log", {}),
        )


def log(event: str, **values: Any) -> None:
    """A line of JSON; what is None is left out."""
    if LOG.isEnabledFor(logging.INFO):
        told = {"time": round(time.time(), 3), "event": event, **values}
        known: Mapping[str, Any] = {key: one for key, one in told.items() if one is not None}
        LOG.info(json.dumps(known, default=str))


def _label(message: Message, exchange: _Exchange) -> None:
    """Headers of every answer."""
    headers = MutableHeaders(scope=message)
    headers["x-request-id"] = exchange.id
    headers["openai-processing-ms"] = str(round(exchange.ms))
    headers["openai-version"] = "2020-10-01"
    headers["x-content-type-options"] = "nosniff"
    headers.setdefault("cache-control", "no-store")
    headers.setdefault("referrer-policy", "no-referrer")
    headers.setdefault("cross-origin-resource-policy", "same-origin")


async def _answer(
    error: ApiError, exchange: _Exchange, scope: Scope, receive: Receive, send: Send
) -> None:
    """Send an error, unless an answer has begun."""
    if not exchange.status:
        await error_response(error)(scope, receive, send)


class Root:
    """Takes a proxy's path away, whether the proxy did so or not."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self.app, self.path = app, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; addresses in the page are relative to the path with a slash."""
        if scope["type"] == "http" and self.path:
            inner = scope["path"]
            if inner == self.path and scope["method"] in ("GET", "HEAD"):
                return await RedirectResponse(f"{self.path}/")(scope, receive, send)
            if inner == self.path or inner.startswith(f"{self.path}/"):
                inner = inner[len(self.path) :] or "/"
            scope = {**scope, "path": inner, "raw_path": inner.encode()}
        return await self.app(scope, receive, send)


class Limits:
    """Bounds the body of a request by the bytes that came, and the time they took."""

    def __init__(self, app: ASGIApp, options: ServeOptions) -> None:
        self.app, self.options = app, options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Raises ApiError where the body is too large or too slow."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        said = Headers(scope=scope).get("content-length", "")
        if said.isdecimal() and int(said[:20]) > self.options.body_bytes:
            raise _too_large(self.options.body_bytes)
        return await self.app(scope, _Body(receive, self.options).receive, send)


class _Body:
    """What came of a body."""

    def __init__(self, receive: Receive, options: ServeOptions) -> None:
        self.source, self.options = receive, options
        self.bytes, self.whole, self.began = 0, False, time.monotonic()

    async def receive(self) -> Message:
        """The next part; once it is whole, only a disconnect comes, however late."""
        if self.whole:
            return await self.source()
        message = await self._in_time()
        if message["type"] == "http.request":
            self.bytes += len(message.get("body", b""))
            self.whole = not message.get("more_body", False)
            if self.bytes > self.options.body_bytes:
                raise _too_large(self.options.body_bytes)
        return message

    async def _in_time(self) -> Message:
        given = self.options.upload_seconds + self.bytes / BYTES_A_SECOND
        left = self.began + given - time.monotonic()
        try:
            return await asyncio.wait_for(self.source(), max(left, 0))
        except TimeoutError:
            raise _too_slow(given) from None
