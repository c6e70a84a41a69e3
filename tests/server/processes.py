"""A server and its worker as processes: they are killed, started again, and measured."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import httpx2

ROOT = Path(__file__).resolve().parents[2]
SERVE = """
import sys
from pathlib import Path
from unclip.server.launch import SubprocessLauncher
from unclip.server.options import Key, ServeOptions
from unclip.server.run import serve

folder, port, *keys = sys.argv[1:]
options = ServeOptions.parse({"data": Path(folder), "port": int(port), "models": ("tiny",),
                              "keys": tuple(map(Key.of, keys))})
serve(options, print, SubprocessLauncher((sys.executable, "-m", "tests.server.plain_worker")))
"""


def until(true: Callable[[], object], seconds: float = 60, why: str = "") -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, why
        time.sleep(0.02)


def free_port() -> int:
    """One that nothing listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as made:
        return int(made.getsockname()[1])


class Serving:
    """What `unclip serve` runs, with a worker without a model, at one address for its whole life.

    Args:
        folder: of its data and its log.
        keys: that may ask.
    """

    def __init__(self, folder: Path, *keys: str) -> None:
        self.folder, self.keys, self.port = folder, keys, free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Without /v1."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        """Of the store."""
        return self.folder / "data"

    @property
    def pid(self) -> int:
        """Of the server."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it, as it is called again after its end."""
        command = [sys.executable, "-c", SERVE, str(self.data), str(self.port), *self.keys]
        path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": path}
            )

    def kill(self) -> None:
        """End it now, with no word to it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it in good order. Returns the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    def ready(self) -> bool:
        """Whether it draws."""
        with suppress(httpx2.HTTPError):
            return httpx2.get(f"{self.url}/readyz", timeout=5).status_code == 200
        return False

    def workers(self) -> list[int]:
        """Ids of its workers' processes."""
        found: list[int] = []
        for thread in Path(f"/proc/{self.pid}/task").iterdir():
            with suppress(OSError):  # it has ended
                found += map(int, (thread / "children").read_text().split())
        return found

    def kill_worker(self) -> bool:
        """End its worker now. Whether there was one."""
        for pid in self.workers():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return True
        return False


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> list[str]:
    """What it has open, such as "socket:[123]" and paths."""
    found = []
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            found.append(os.readlink(one))
    return found


def sockets(pid: int) -> int:
    """How many sockets it has open."""
    return sum(one.startswith("socket:") for one in descriptors(pid))
