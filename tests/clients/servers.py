"""Servers that clients ask: the command itself, and two that take nothing more."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

from unclip.server.job import Spec

from ..server.house import KEY, House, a_house
from .official import Server

ALIASES = ("gpt-image-1", "gpt-image-1-mini", "dall-e-3")


@contextmanager
def commanded(model: Path, folder: Path) -> Iterator[Server]:
    """`unclip serve`, with a key, on a free port."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = folder / "keys.txt"
    keys.write_text(f"{KEY}\n")
    aliases = [text for name in ALIASES for text in ("--alias", name)]
    command = [sys.executable, "-m", "unclip", "serve", "--model", str(model), "--port", "0"]
    options = ["--api-key-file", str(keys), "--data", str(folder / "data"), *aliases]
    log = (folder / "log").open("w+")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with closing(log), subprocess.Popen(
        [*command, *options], stdout=log, stderr=log, text=True, env=environment
    ) as process:  # fmt: skip
        try:
            yield Server(_url(process, folder / "log"), KEY)
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
    assert code == 0


def _url(process: subprocess.Popen[str], log: Path) -> str:
    for _ in range(600):
        if found := re.search(r"at (http://127\.0\.0\.1:[0-9]+)/v1", log.read_text()):
            return found[1]
        with suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"exit {process.wait(0.1)}: {log.read_text()}")
    raise AssertionError(log.read_text())


@contextmanager
def full(folder: Path) -> Iterator[Server]:
    """A server whose queue is full."""
    with a_house(folder, queued=1) as house:
        house.worker.go.clear()
        for count, prompt in enumerate(("what is drawn", "what waits"), start=1):
            submitting = partial(house.engine.submit, "somebody", spec(prompt), kept=True)
            house.call(submitting)
            _settle(house, count)
        yield Server(house.url, KEY)


def _settle(house: House, count: int) -> None:
    """Until one job is being drawn, and the others wait."""
    for _ in range(1000):
        counts = house.engine.store.counts()
        if (counts["running"], counts["queued"]) == (1, count - 1):
            return
        time.sleep(0.01)
    raise AssertionError(counts)


def spec(prompt: str) -> Spec:
    """One picture."""
    return Spec("generate", {"prompt": prompt, "n": 1, "seed": 1}, model="tiny", pictures=1)


@contextmanager
def draining(folder: Path) -> Iterator[Server]:
    """A server that is about to stop."""
    with a_house(folder) as house:
        house.engine.draining = True
        yield Server(house.url, KEY)


class Relay:
    """Stands before a server and remembers the bytes that clients send it."""

    def __init__(self, server: Server) -> None:
        host, _, port = server.url.removeprefix("http://").partition(":")
        self._to = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sent: list[bytes] = []
        self.server = Server(f"http://127.0.0.1:{self._listener.getsockname()[1]}", server.key)
        threading.Thread(target=self._accept, daemon=True).start()

    def taken(self) -> bytes:
        """What was sent since the last time."""
        sent, self._sent = b"".join(self._sent), []
        return sent

    def close(self) -> None:
        """Take no more."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._to)
                for one, other, keep in ((client, server, True), (server, client, False)):
                    threading.Thread(
                        target=self._pump, args=(one, other, keep), daemon=True
                    ).start()

    def _pump(self, source: socket.socket, target: socket.socket, keep: bool) -> None:
        with suppress(OSError):
            while data := source.recv(2**16):
                if keep:
                    self._sent.append(data)
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        if not keep:
            source.close()
            target.close()
