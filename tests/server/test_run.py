"""The server starts, tells what is wrong in a line, drains on a signal and ends in good order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from unclip.errors import UsageError
from unclip.loading import BUNDLED
from unclip.server import options as module
from unclip.server.middleware import LOG
from unclip.server.options import ServeOptions
from unclip.server.refusals import NoWorker
from unclip.server.run import PortError, engine_options, listening, serve
from unclip.server.store import Store

from .fakes import FakeWorker


@pytest.fixture(autouse=True)
def log() -> Iterator[None]:
    """Put the log back: a server that ran in this process has sent it to this test's stderr."""
    handlers, propagate, level = LOG.handlers[:], LOG.propagate, LOG.level
    yield
    LOG.handlers[:], LOG.propagate = handlers, propagate
    LOG.setLevel(level)


class Running:
    """What another thread does while the server runs in this one, as signals need."""

    def __init__(self, folder: Path, worker: FakeWorker) -> None:
        self.folder, self.worker, self.said = folder, worker, threading.Event()
        self.url, self.failed = "", list[BaseException]()

    def say(self, text: str) -> None:
        """Where it serves."""
        self.url = text.rpartition(" ")[2]
        self.said.set()

    def serve(self, script: Callable[[Running], None], **more: Any) -> int:
        """The exit code, with a script that runs beside."""

        def run() -> None:
            try:
                assert self.said.wait(20)
                script(self)
            except BaseException as error:  # noqa: BLE001 - told to the test
                self.failed.append(error)
                self.stop()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        options = ServeOptions.parse({"data": self.folder, "port": 0, "models": ("tiny",), **more})
        code = serve(options, self.say, self.worker)
        thread.join(20)
        if self.failed:
            raise self.failed[0]
        return code

    def stop(self) -> None:
        """Ask to stop."""
        os.kill(os.getpid(), signal.SIGTERM)

    def get(self, path: str) -> httpx2.Response:
        """Of a path outside /v1."""
        return httpx2.get(self.url.removesuffix("/v1") + path, timeout=5)

    def leave(self) -> None:
        """A generation whose answer nobody hears."""
        with contextlib.suppress(httpx2.HTTPError):
            self.ask()

    def ask(self) -> httpx2.Response:
        """A generation."""
        body = {"prompt": "a fox", "size": "256x256"}
        return httpx2.post(f"{self.url}/images/generations", json=body, timeout=20)


@pytest.fixture
def running(tmp_path: Path) -> Running:
    return Running(tmp_path / "data", FakeWorker())


def test_a_signal_ends_an_idle_server_with_0(running: Running) -> None:
    def script(self: Running) -> None:
        assert self.ask().status_code == 200
        self.stop()

    before = signal.getsignal(signal.SIGTERM)
    assert running.serve(script) == 0
    assert signal.getsignal(signal.SIGTERM) == before
    assert httpx_fails(running.url)


def httpx_fails(url: str) -> bool:
    with contextlib.suppress(httpx2.ConnectError):
        httpx2.get(f"{url}/models", timeout=1)
        return False
    return True


def test_a_signal_lets_what_runs_end_and_keeps_what_waits(running: Running) -> None:
    replies: list[httpx2.Response] = []

    def script(self: Running) -> None:
        self.worker.go.clear()
        threads = [threading.Thread(target=lambda: replies.append(self.ask())) for _ in range(2)]
        for count, thread in enumerate(threads, start=1):
            thread.start()
            until(lambda count=count: jobs(self) == count and jobs(self, "running") == 1)
        self.stop()
        until(lambda: self.get("/readyz").status_code == 503)
        assert self.ask().status_code == 503  # no more jobs are taken
        self.worker.go.set()
        for thread in threads:
            thread.join(20)

    assert running.serve(script) == 0
    assert sorted(one.status_code for one in replies) == [200, 503]
    with contextlib.closing(Store(running.folder)) as store:
        counts = store.counts()
    assert (counts["done"], counts["queued"]) == (1, 1)

    def later(self: Running) -> None:
        until(lambda: jobs(self) == 0)
        self.stop()

    again = Running(running.folder, FakeWorker())
    assert again.serve(later) == 0
    assert len(again.worker.drawn) == 1  # what waited was drawn after the restart


def jobs(self: Running, *states: str) -> int:
    """How many run or wait, or are in these states."""
    text = self.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[:1] not in ("#", ""))
    return sum(
        int(float(lines[f'unclip_jobs{{state="{one}"}}']))
        for one in states or ("queued", "running")
    )


def until(true: Callable[[], bool]) -> None:
    """Wait for something."""
    for _ in range(500):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError


def test_a_second_signal_ends_at_once_and_the_job_runs_again(running: Running) -> None:
    began: list[float] = []

    def script(self: Running) -> None:
        self.worker.go.clear()
        thread = threading.Thread(target=self.leave)
        thread.start()
        until(lambda: jobs(self) == 1)
        self.stop()
        until(lambda: self.get("/readyz").status_code == 503)
        began.append(time.monotonic())
        self.stop()
        thread.join(20)

    assert running.serve(script) == 130
    assert time.monotonic() - began[0] < 5
    with contextlib.closing(Store(running.folder)) as store:
        assert store.counts()["queued"] == 1


def test_while_it_loads_it_answers_that_it_does(running: Running) -> None:
    ready = threading.Event()

    class Slow(FakeWorker):
        async def __call__(self) -> Any:
            while not ready.is_set():
                await asyncio.sleep(0.01)
            return await super().__call__()

    port = free_port()
    running.worker, found = Slow(), list[httpx2.Response]()

    def early() -> None:
        until(lambda: not httpx_fails(f"http://127.0.0.1:{port}"))
        for method, path in (("GET", "/readyz"), ("POST", "/v1/images/generations")):
            url = f"http://127.0.0.1:{port}{path}"
            found.append(httpx2.request(method, url, json={"prompt": "a"} if found else None))
        ready.set()

    thread = threading.Thread(target=early)
    thread.start()
    assert running.serve(Running.stop, port=port) == 0
    thread.join(20)
    assert [one.status_code for one in found] == [503, 503]
    assert int(found[1].headers["retry-after"]) <= 60
    assert found[1].json()["error"]["message"].startswith("The model is loading")


def free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as made:
        return int(made.getsockname()[1])


def test_a_model_that_cannot_be_loaded_ends_it_with_its_reason(tmp_path: Path) -> None:
    options = ServeOptions(data=tmp_path, port=0, models=("tiny",))
    with pytest.raises(NoWorker, match="not valid JSON") as told:
        serve(options, print, FakeWorker(broken="model.json is not valid JSON"))
    assert told.value.exit_code == 1


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as used:
        port = used.getsockname()[1]
        with pytest.raises(PortError, match=f"port {port} of 127.0.0.1 is in use") as told:
            listening("127.0.0.1", port)
    assert told.value.exit_code == 1 and "\n" not in str(told.value)
    with pytest.raises(PortError, match="cannot listen on 203"):
        listening("203.0.113.7", 0)


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """asyncio sets TCP_NODELAY on sockets whose protocol is known; without it each takes 40 ms."""
    with contextlib.closing(listening("127.0.0.1", 0)) as listener:
        assert listener.proto == socket.IPPROTO_TCP


# options


def keys(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "keys.txt"
    path.write_text(text)
    return module.read_keys(path)


def test_keys_are_read_and_their_owners_tell_nothing_of_them(tmp_path: Path) -> None:
    found = keys(tmp_path, "# the first\nsk-0123456789abcdef\n\n  sk-fedcba9876543210 \n")
    assert len({key.owner for key in found}) == 2
    options = ServeOptions(keys=found)
    assert options.owner_of("sk-fedcba9876543210") == found[1].owner
    assert options.owner_of("sk-fedcba987654321") is None
    assert options.owner_of("") is None
    assert "0123456789abcdef" not in repr(options) and "digest" not in repr(options)


@pytest.mark.parametrize("text", ["", "# none\n", "short\n", "a key with spaces in it\n", "ü" * 20])
def test_a_file_without_good_keys_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="openssl rand"):
        keys(tmp_path, text)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        module.read_keys(tmp_path / "none.txt")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "draw.example"])
def test_another_address_without_a_key_is_refused_unless_told(host: str) -> None:
    with pytest.raises(UsageError, match="--api-key-file"):
        ServeOptions.parse({"host": host})
    assert ServeOptions(host=host, no_auth=True).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_no_key(host: str) -> None:
    assert ServeOptions.parse({"host": host}).host == host


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("public_url", "draw.example"),
        ("public_url", "ftp://draw.example"),
        ("root_path", "draw"),
        ("allow_origin", ("app.example",)),
        ("allow_origin", ("https://app.example/path",)),
        ("allow_origin", ("*",)),  # without a key
        ("trusted_proxy", ("proxy",)),
        ("port", 65536),
        ("most_queued", 0),
    ],
)
def test_a_wrong_option_is_one_line_that_names_it(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=name.replace("_", "[_-]")):
        ServeOptions.parse({name: value})


def test_models_are_called_by_their_last_part_and_aliases_name_one() -> None:
    options = ServeOptions(models=("runs/mine/", "hub:org/name"), aliases={"a": "name", "b": ""})
    assert engine_options(options).models == {"mine": "runs/mine/", "name": "hub:org/name"}
    assert engine_options(ServeOptions()).models == {BUNDLED: BUNDLED}
    with pytest.raises(UsageError, match="unknown model 'other'"):
        engine_options(ServeOptions(aliases={"a": "other"}))


def test_the_command_says_what_is_wrong_before_anything_starts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from unclip.cli import main

    monkeypatch.delenv("UNCLIP_DEBUG", raising=False)
    for words, code, part in (
        (["--host", "0.0.0.0"], 2, "--api-key-file"),
        (["--api-key-file", "none.txt"], 2, "cannot read none.txt"),
        (["--port", "99999"], 2, "port must be at most 65535"),
    ):
        assert main(["serve", *words]) == code
        err = capsys.readouterr().err
        assert part in err and len(err.splitlines()) == 1, err
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as used:
        assert main(["--quiet", "serve", "--json", "--port", str(used.getsockname()[1])]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["error"]["field"] == "port" and "in use" in told["error"]["message"]


def test_without_the_extra_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from unclip.cli import main

    monkeypatch.delenv("UNCLIP_DEBUG", raising=False)
    monkeypatch.delitem(sys.modules, "unclip.server.run")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve"]) == 2
    assert "pip install 'unclip[serve]'" in capsys.readouterr().err
