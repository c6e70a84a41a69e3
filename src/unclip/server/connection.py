"""A connection whose requests begin in time: who sends headers byte by byte is left."""

from __future__ import annotations

import asyncio
from typing import ClassVar, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Connection(HttpToolsProtocol):
    """uvicorn's, which waits for headers for ever."""

    seconds: ClassVar[float] = 30
    _slow: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It begins."""
        super().connection_made(cast(asyncio.Transport, transport))
        self._expect()

    def on_message_begin(self) -> None:
        """A request begins; also a second one."""
        self._expect()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The headers are whole; `Limits` sees to the body."""
        self._rest()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """It ends."""
        self._rest()
        super().connection_lost(exc)

    def _expect(self) -> None:
        self._rest()
        self._slow = self.loop.call_later(self.seconds, self._leave)

    def _rest(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _leave(self) -> None:
        """Close it, unless an answer to an earlier request is still being sent."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


def connection(seconds: float) -> type[Connection]:
    """Connections that give headers so many seconds."""
    return type("Connection", (Connection,), {"seconds": seconds})
