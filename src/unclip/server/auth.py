"""Who asks, and from where: hosts, origins, keys and sessions; refused unless allowed.

A route is open to everybody only where `OPEN` names it. Browsers log in with a key and get a cookie
and a token, which unsafe requests must send too (CSRF). Pages of other origins are refused unless
`--allow-origin` names them, and names that are not the server's too (DNS rebinding).
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import errors
from .middleware import error_response
from .options import LOCAL, Key, ServeOptions

OPEN = re.compile(r"/|/healthz|/readyz|/files/[0-9a-f]{32}\.(png|jpeg|webp)|/static/[\w./-]+")
"""Paths that need no key: probes, pictures' addresses, and the page's own files."""
PROBES = ("/healthz", "/readyz")
LOGIN = "/v1/session"
SAFE = ("GET", "HEAD", "OPTIONS")
COOKIE = "unclip_session"
SESSION_SECONDS = 30 * 24 * 3600
EXPOSED = (
    "x-request-id, openai-processing-ms, retry-after, x-should-retry, x-unclip-size, "
    "x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests"
)


class Session(NamedTuple):
    """What a browser's cookie says."""

    owner: str
    ends: int
    nonce: str

    @classmethod
    def new(cls, owner: str) -> Self:
        """From now on."""
        return cls(owner, int(time.time()) + SESSION_SECONDS, secrets.token_hex(16))

    def _mac(self, key: Key, purpose: str) -> str:
        text = f"{purpose} {self.owner} {self.ends} {self.nonce}"
        return hmac.new(key.digest, text.encode(), "sha256").hexdigest()

    def cookie(self, key: Key) -> str:
        """Its value, which nobody without the key can make."""
        return f"{self.owner}.{self.ends}.{self.nonce}.{self._mac(key, 'session')}"

    def csrf(self, key: Key) -> str:
        """The token that unsafe requests send too."""
        return self._mac(key, "csrf")

    @classmethod
    def read(cls, text: str, keys: tuple[Key, ...]) -> tuple[Self, Key] | None:
        """A session and its key; None where it has ended, or the key was taken away."""
        owner, ends, nonce, mac = (text.split(".") + 4 * [""])[:4]
        for key in keys:
            if hmac.compare_digest(key.owner.encode(), owner.encode()) and ends.isdecimal():
                session = cls(owner, int(ends[:12]), nonce)
                right = hmac.compare_digest(session._mac(key, "session").encode(), mac.encode())
                if right and session.ends > time.time():
                    return session, key
        return None


def session_of(headers: Headers, options: ServeOptions) -> tuple[Session, Key] | None:
    """The session of a request's cookie."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return Session.read(morsel.value, options.keys) if morsel else None


class Auth:
    """Refuses whoever may not ask, before a route sees the request."""

    def __init__(self, app: ASGIApp, options: ServeOptions) -> None:
        self.app, self.options = app, options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; who is refused may read why, if they are of an allowed origin."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        visit = _Visit.of(scope)
        allowed = self.allowed_origin(visit)
        sending = _with_cors(send, visit.origin) if allowed else send
        try:
            answer = self.answer(visit, allowed, scope["state"])
        except errors.ApiError as error:
            answer = error_response(error)
        return await (answer or self.app)(scope, receive, sending)

    def answer(self, visit: _Visit, allowed: bool, state: dict[str, Any]) -> Response | None:
        """What needs no route. Notes the owner in `state`. Raises ApiError."""
        if visit.path not in PROBES:
            self.check_host(visit)
        if visit.is_preflight:
            return self.preflight(visit, allowed)
        self.check_site(visit, allowed)
        state["owner"] = self.owner(visit)
        return None

    def check_host(self, visit: _Visit) -> None:
        """Raise ApiError where it is asked for under a name that is not its own."""
        if visit.host and not self.options.knows_host(visit.host):
            raise errors.forbidden(
                f"This server is not called {visit.host!r}: start it with --allow-host NAME."
            )

    def allowed_origin(self, visit: _Visit) -> bool:
        """Whether pages of another origin may read the answer."""
        known = self.options.allow_origin
        return bool(visit.origin) and ("*" in known or visit.origin in known)

    def check_site(self, visit: _Visit, allowed: bool) -> None:
        """Raise ApiError where another site's page changes something."""
        if visit.method in SAFE or allowed:
            return
        own = self._own_origins(visit)
        foreign = visit.origin not in own if visit.origin else visit.site not in (
            "", "none", "same-origin"
        )  # fmt: skip
        if foreign:
            shown = visit.origin or visit.site
            raise errors.forbidden(
                f"Pages of the origin {shown!r} may not ask: start the server with "
                "--allow-origin ORIGIN."
            )

    def _own_origins(self, visit: _Visit) -> set[str]:
        public = urlsplit(self.options.public_url)
        own = {f"{visit.scheme}://{visit.authority}"}
        return own | ({f"{public.scheme}://{public.netloc}"} if public.netloc else set())

    def preflight(self, visit: _Visit, allowed: bool) -> Response:
        """Whether a page of another origin may ask."""
        if not allowed:
            raise errors.forbidden(
                f"Pages of the origin {visit.origin!r} may not ask: start the server with "
                "--allow-origin ORIGIN."
            )
        asked = visit.headers.get("access-control-request-headers", "")
        headers = {
            "access-control-allow-methods": "GET, POST, PATCH, DELETE",
            "access-control-allow-headers": asked,
            "access-control-max-age": "600",
        }
        if visit.headers.get("access-control-request-private-network") == "true":
            headers["access-control-allow-private-network"] = "true"
        return Response(status_code=204, headers=headers)

    def owner(self, visit: _Visit) -> str:
        """Whose request it is. Raises ApiError where nobody says, unless the route is open."""
        if OPEN.fullmatch(visit.path):
            return ""
        if not self.options.keys:
            return LOCAL
        if key := visit.key:
            if owner := self.options.owner_of(key):
                return owner
            raise errors.unauthorized("Incorrect API key provided.")
        if found := session_of(visit.headers, self.options):
            session, known = found
            token = visit.headers.get("x-csrf-token", "")
            right = hmac.compare_digest(session.csrf(known).encode(), token.encode())
            if visit.method not in SAFE and not right:
                raise errors.forbidden("The header x-csrf-token is missing or wrong: log in again.")
            return session.owner
        if visit.path == LOGIN and visit.method in ("GET", "POST"):
            return ""
        raise errors.unauthorized(
            "You didn't provide an API key. Send it as 'Authorization: Bearer KEY' or 'api-key: "
            "KEY'."
        )


@dataclass(frozen=True)
class _Visit:
    """What a request says of itself."""

    method: str
    path: str
    scheme: str
    headers: Headers

    @classmethod
    def of(cls, scope: Scope) -> Self:
        return cls(scope["method"], scope["path"], scope["scheme"], Headers(scope=scope))

    @property
    def authority(self) -> str:
        return self.headers.get("host", "").lower()

    @property
    def host(self) -> str:
        """The name in the Host header, without a port."""
        try:
            return urlsplit(f"//{self.authority}").hostname or self.authority
        except ValueError:
            return self.authority

    @property
    def origin(self) -> str:
        return self.headers.get("origin", "")

    @property
    def site(self) -> str:
        return self.headers.get("sec-fetch-site", "")

    @property
    def is_preflight(self) -> bool:
        asks = "access-control-request-method" in self.headers
        return self.method == "OPTIONS" and bool(self.origin) and asks

    @property
    def key(self) -> str:
        """The API key; empty where there is none."""
        kind, _, key = self.headers.get("authorization", "").partition(" ")
        return key.strip() if kind.lower() == "bearer" else self.headers.get("api-key", "")


def _with_cors(send: Send, origin: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["access-control-allow-origin"] = origin
            headers["access-control-expose-headers"] = EXPOSED
            headers.add_vary_header("Origin")
        await send(message)

    return sending
