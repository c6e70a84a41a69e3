"""Which server runs on a data folder: a small file says where, as long as it runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

from ..errors import UnclipError
from ..files import atomic_file

FILE = "server.json"
PATIENCE = 3.0
"""Seconds in which a server answers that it is there."""
LONGEST = 2**16
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where a server that listens everywhere is reached on its own machine."""


def address(host: str, port: int, root_path: str = "") -> str:
    """Of a server, as this machine reaches it."""
    name = ANYWHERE.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}{root_path}"


@contextmanager
def announced(folder: Path, url: str) -> Iterator[None]:
    """Within, the folder says that a server of this process runs at an address."""
    path, mine = folder / FILE, {"url": url, "pid": os.getpid()}
    with suppress(UnclipError), atomic_file(path) as beside:  # it serves without, too
        beside.write_text(json.dumps(mine), encoding="utf-8")
    try:
        yield
    finally:
        if _read(path) == mine:
            with suppress(OSError):
                path.unlink()


def told(folder: Path) -> str | None:
    """The address that the folder names, whether anything answers there or not."""
    url = _read(folder / FILE).get("url")
    return url if isinstance(url, str) else None


def find(folder: Path) -> str | None:
    """The address of the server that runs on a folder; None where there is none.

    A file that a killed server has left is recognised: its process has gone, or nothing answers.
    """
    url, pid = told(folder), _read(folder / FILE).get("pid")
    if url is None or type(pid) is not int or not _lives(pid):
        return None
    return url if answers(url) else None


def answers(url: str) -> bool:
    """Whether a server of this package is there."""
    try:
        said = json.loads(_get(f"{url}/healthz"))
    except (OSError, ValueError):
        return False
    return bool(said == {"status": "ok"})


def has_page(url: str) -> bool:
    """Whether a server has the page."""
    try:
        return b"<html" in _get(f"{url}/").lower()
    except (OSError, ValueError):
        return False


def _get(url: str) -> bytes:
    """What is there, without a proxy. Raises OSError and ValueError."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("no address")
    with build_opener(ProxyHandler({})).open(url, timeout=PATIENCE) as answer:
        data: bytes = answer.read(LONGEST)
        return data


def _read(path: Path) -> dict[str, Any]:
    """What the file says; nothing where it is not there or damaged."""
    try:
        said = json.loads(path.read_text(encoding="utf-8")[:LONGEST])
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _lives(pid: int) -> bool:
    """Whether there is such a process; Windows does not say without ending it."""
    if os.name != "posix":
        return True
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
