"""The files of the server's folder: pictures that jobs read, and pictures that they drew."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..errors import UsageError
from ..files import atomic_file, writing

_DIGEST = re.compile("[0-9a-f]{64}")
_TOKEN = re.compile("[0-9a-f]{32}")


class Files:
    """`inputs/<aa>/<digest>` and `pictures/<aa>/<id>.<format>` in a folder.

    A lock is held while a file gets its name in the database, and while one without is removed, so
    that neither meets the other halfway: `placing` for pictures, `taking` for inputs.
    """

    def __init__(self, folder: Path) -> None:
        self.inputs, self.pictures = folder / "inputs", folder / "pictures"
        self.placing, self.taking = threading.RLock(), threading.RLock()
        for made in (self.inputs, self.pictures):
            with writing(made):
                made.mkdir(exist_ok=True)

    def put(self, data: bytes) -> str:
        """Store an input once, whoever brings it. Returns its digest. Raises OutputError."""
        digest = hashlib.sha256(data).hexdigest()
        path = self.input(digest)
        with self.taking:
            if not _touched(path):
                self.place(data, path)
        return digest

    def input(self, digest: str) -> Path:
        """Where an input is. Raises UsageError for what is no digest."""
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise UsageError("a stored picture's name must be 64 hexadecimal digits")
        return self.inputs / digest[:2] / digest

    def claim(self, digest: str) -> int:
        """Bytes of an input that is about to be used. Raises UsageError if it is not there."""
        path = self.input(digest)
        with self.taking:
            if not _touched(path):
                raise UsageError(f"there is no stored picture {digest}; upload it again")
            return path.stat().st_size

    def picture(self, token: str, form: str) -> Path:
        """Where a drawn picture is. Raises UsageError for what is no token."""
        if not _TOKEN.fullmatch(token):
            raise UsageError("a picture's id must be 32 hexadecimal digits")
        return self.pictures / token[:2] / f"{token}.{form}"

    def place(self, data: bytes, target: Path) -> None:
        """Write a file, its name and its folder's name to the disk. Raises OutputError."""
        with writing(target):
            if not target.parent.exists():
                target.parent.mkdir(exist_ok=True)
                _sync_folder(target.parent.parent)
            with atomic_file(target) as beside:
                beside.write_bytes(data)
            _sync_folder(target.parent)


def _touched(path: Path) -> bool:
    """Whether it is there; it then counts as new."""
    with writing(path):
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
    return True


def remove(paths: Iterable[Path]) -> None:
    """Remove files, as far as they are there and the disk lets them; the sweep tries again."""
    for path in paths:
        with suppress(OSError):
            path.unlink()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(path: Path) -> None:
    with suppress(OSError):  # Windows opens no folders
        _sync(path)
