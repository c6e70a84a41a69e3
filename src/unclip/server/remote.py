"""A client of a running server's native API: uploads, jobs, what happens to them, and pictures."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import anyio
import httpx2

from .._version import __version__
from ..errors import UnclipError, UsageError
from .job import ENDED

Json = dict[str, Any]
Tell = Callable[[str, Json], Awaitable[None]]
"""Gets the kind and the data of each event of a job; see `job.Event`."""

AGAIN = 1.0
"""Seconds until a lost connection is tried again."""
MOST_TRIES = 60
"""Tries in a row, before a job is left to itself."""
LONGEST_PAUSE = 60.0
"""Seconds without a sign of life, of which the server sends one every 10."""
STARTING = 503


class RemoteError(UnclipError):
    """The server cannot be reached, or refuses what it is asked for."""


class Remote:
    """A running server.

    Args:
        url: without /v1, such as "http://127.0.0.1:8000".
        key: an API key, where the server wants one.

    Raises:
        UsageError: `url` is none.
    """

    def __init__(self, url: str, key: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"url must be such as http://127.0.0.1:8000, got '{url}'").about("url")
        self.url = url.rstrip("/").removesuffix("/v1")
        headers = {"user-agent": f"unclip/{__version__}"}
        headers |= {"authorization": f"Bearer {key}"} if key else {}
        self._http = httpx2.AsyncClient(
            base_url=self.url,
            headers=headers,
            timeout=LONGEST_PAUSE,
            trust_env=not _is_here(parts.hostname),  # no proxy leads to this machine
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def upload(self, data: bytes) -> str:
        """The id of a picture that jobs may begin from. Raises RemoteError."""
        answer = await self._ask("POST", "/v1/pictures", content=data)
        return str(self._json(answer)["id"])

    async def submit(self, asked: Mapping[str, Any]) -> Json:
        """A new job, of what `POST /v1/jobs` takes. Raises RemoteError."""
        return self._json(await self._ask("POST", "/v1/jobs", json=dict(asked)))

    async def job(self, id: str) -> Json:
        """A job as it stands. Raises RemoteError."""
        return self._json(await self._ask("GET", f"/v1/jobs/{id}"))

    async def cancel(self, id: str) -> Json:
        """Stop a job that has not ended. Raises RemoteError."""
        return self._json(await self._ask("POST", f"/v1/jobs/{id}/cancel"))

    async def capabilities(self) -> Json:
        """What the server can be asked for. Raises RemoteError."""
        return self._json(await self._ask("GET", "/v1/capabilities"))

    async def file(self, picture: str) -> bytes:
        """The file of a picture that was drawn. Raises RemoteError."""
        return (await self._ask("GET", f"/v1/pictures/{picture}/file")).content

    async def follow(self, id: str, tell: Tell) -> Json:
        """The job when it has ended, through restarts of the server. Raises RemoteError."""
        tries = 0
        while tries < MOST_TRIES:
            try:
                async with self._http.stream(
                    "GET", f"/v1/jobs/{id}/events?previews=false"
                ) as answer:
                    if answer.status_code != STARTING:
                        await answer.aread() if answer.is_error else None
                        self._check(answer)
                        async for kind, data in events(answer.aiter_lines()):
                            tries = 0
                            await tell(kind, data)
                            if kind in ENDED:
                                ended: Json = data["job"]
                                return ended
            except httpx2.TransportError:
                pass
            tries += 1
            await anyio.sleep(AGAIN)
        raise RemoteError(f"the connection to {self.url} is lost; job {id} goes on without it")

    async def _ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        try:
            answer = await self._http.request(method, path, **more)
        except httpx2.TransportError as error:
            why = str(error) or type(error).__name__
            raise RemoteError(
                f"no server answers at {self.url} ({why}): start one with `unclip serve`"
            ) from None
        self._check(answer)
        return answer

    def _check(self, answer: httpx2.Response) -> None:
        """Raise RemoteError where the server refuses."""
        if answer.is_success:
            return
        error = self._json(answer).get("error")
        if not isinstance(error, dict):
            raise self._other(answer)
        message = str(error.get("message"))
        if answer.status_code == 401:
            message += " Give `unclip mcp` the server's key: --api-key-file FILE."
        raise RemoteError(message).about(str(error.get("param") or ""))

    def _json(self, answer: httpx2.Response) -> Json:
        try:
            found = answer.json()
        except ValueError:
            raise self._other(answer) from None
        if not isinstance(found, dict):
            raise self._other(answer)
        return found

    def _other(self, answer: httpx2.Response) -> RemoteError:
        return RemoteError(
            f"{self.url} is no server of unclip's: it answers with status {answer.status_code}"
        )


async def events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, Json]]:
    """Kind and data of each event in a stream, as the server writes them."""
    kind, data = "", ""
    async for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            data = value
        elif not line and data:
            yield kind, json.loads(data)
            kind, data = "", ""


def _is_here(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
