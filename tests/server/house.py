"""A server in a thread of its own, with the real engine, store and uvicorn, and a fake worker."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import uvicorn
from fastapi import FastAPI

from unclip.server.app import make_app
from unclip.server.engine import Engine, EngineOptions
from unclip.server.options import Key, ServeOptions
from unclip.server.run import http_config, listening
from unclip.server.store import Store

from .fakes import FakeWorker

KEY, OTHER = "sk-house-0123456789abcdef", "sk-other-0123456789abcdef"
BEARER, STRANGER = {"authorization": f"Bearer {KEY}"}, {"authorization": f"Bearer {OTHER}"}
HOST = {"host": "localhost"}
JSON = {**HOST, **BEARER, "content-type": "application/json"}
GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
T = TypeVar("T")


@dataclass
class House:
    """A running server."""

    app: FastAPI
    engine: Engine
    worker: FakeWorker
    loop: asyncio.AbstractEventLoop
    port: int

    @property
    def url(self) -> str:
        """Without /v1."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, **more: Any) -> httpx2.Client:
        """With the first key."""
        headers = {**BEARER, **more.pop("headers", {})}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=8, **more)

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Await in the server's loop."""

        async def awaited() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(awaited(), self.loop).result(30)

    def raw(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Reply:
        """A request with these headers alone, as no client sends them."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as wire:
            wire.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                wire.putheader(name, value)
            if body and "transfer-encoding" not in headers and "content-length" not in headers:
                wire.putheader("content-length", str(len(body)))
            wire.endheaders(body)
            answer = wire.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, answer.read())


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    content: bytes

    def error(self) -> dict[str, Any]:
        """The error, which has its four keys and nothing else."""
        return error_of(self.content)


def error_of(content: bytes) -> dict[str, Any]:
    """The error of a body, which has its four keys and nothing else."""
    body = json.loads(content)
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"message", "type", "param", "code"}
    assert "\n" not in body["error"]["message"] and body["error"]["message"]
    error: dict[str, Any] = body["error"]
    return error


@contextmanager
def a_house(folder: Path, queued: int = 100, patience: float = 15, **more: Any) -> Iterator[House]:
    """A server that has two keys unless told otherwise."""
    keys = (Key.of(KEY), Key.of(OTHER))
    values = {"keys": keys, "data": folder, "port": 0, "most_queued": queued, **more}
    ready: list[House] = []
    told, ended = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(_serve(ServeOptions.parse(values), patience, ready, told))
        except BaseException as error:  # noqa: BLE001 - told to the test
            failed.append(error)
        finally:
            told.set()
            ended.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert told.wait(30)
    if failed:
        raise failed[0]
    try:
        yield ready[0]
    finally:
        ready[0].worker.go.set()
        ready[0].loop.call_soon_threadsafe(ready[0].app.state.leave.set)
        assert ended.wait(30)
        thread.join(30)
    if failed:
        raise failed[0]


class _Server(uvicorn.Server):
    """Ends soon after it is told to: there are many of them."""

    async def main_loop(self) -> None:
        counter = 0
        while not await self.on_tick(counter):
            counter += 1
            await asyncio.sleep(0.01)


async def _serve(
    options: ServeOptions, patience: float, ready: list[House], told: threading.Event
) -> None:
    worker = FakeWorker()
    names = options.models or ("tiny",)
    with closing(Store(options.data)) as store, closing(listening("127.0.0.1", 0)) as listener:
        engine = Engine(
            store,
            EngineOptions({name: name for name in names}, queued=options.most_queued,
                          each=options.most_each,
                          patience=patience, exact=True),
            worker,
        )  # fmt: skip
        app = make_app(engine, options)
        app.state.leave = asyncio.Event()
        server = _Server(http_config(app, options))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await engine.start()
        port = listener.getsockname()[1]
        ready.append(House(app, engine, worker, asyncio.get_running_loop(), port))
        told.set()
        await app.state.leave.wait()
        await engine.stop(finish_running=False)
        app.state.serving.stopped.set()
        server.should_exit = True
        await serving
