"""A file that one process at a time may hold."""

from __future__ import annotations

import errno
import os
import socket
import sys
from datetime import datetime
from pathlib import Path
from typing import IO

from ..errors import UsageError
from ..files import writing


class Lock:
    """A file that one process at a time may hold; the system lets go of it when that ends.

    `held` is False on file systems without locks, where nobody is kept out.

    Raises:
        UsageError: another process holds it; named are its number, its machine and since when.
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, what: str) -> None:
        with writing(path):
            self._file: IO[str] = path.open("a+", encoding="utf-8")
            try:
                self.held = _try_lock(self._file)
            except BlockingIOError:
                self._file.seek(0)
                who = self._file.read().strip() or "another process"
                self._file.close()
                raise UsageError(f"{what} is in use by {who}; wait for it, or stop it") from None
            now = datetime.now().astimezone().isoformat(" ", "seconds")
            self._file.truncate(0)
            self._file.write(f"process {os.getpid()} on {socket.gethostname()} since {now}\n")
            self._file.flush()

    def release(self) -> None:
        """Let go of it; the file stays, for another may be about to take it."""
        if hasattr(self, "_file"):
            self._file.close()

    __del__ = release


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> None:
        file.seek(2**30)  # a byte far behind the text, which others may then read
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        # a record lock, not flock's: forked workers do not hold it on when this process is gone
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)


def _try_lock(file: IO[str]) -> bool:
    """Whether the file system has locks. Raises BlockingIOError where another holds it."""
    try:
        _lock(file)
    except OSError as error:
        if error.errno in _HELD:
            raise BlockingIOError from None
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True
