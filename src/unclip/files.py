"""Files: nothing half-written is ever seen (write beside, fsync, rename), and text is UTF-8.

What is being written lies beside its target as `.NAME.xxxxxxxx.part`; a process that is killed
leaves it there, and `remove_leftovers` finds it by that name.
"""

from __future__ import annotations

import codecs
import errno
import json
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

from .errors import OutputError, UsageError

_PART = ".part"
_LEFTOVER = re.compile(r"\..+\.[a-z0-9_]{8}\.part")
_LONGEST = 50  # bytes of a target's name that the name beside it begins with: systems allow 255

_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}  # in this order: one begins as another does


PART = 255
"""Longest name of a file or folder, in bytes, on the systems in use."""


def text_of(path: Path | str, most: int | None = None) -> str:
    """What a text file holds, in UTF-8, without the byte-order mark that some editors put first.

    Args:
        path: the file.
        most: how many bytes it may have; no more are read.

    Raises:
        OSError: it cannot be read.
        ValueError: it is longer, no UTF-8, or no text; the message gives the line.
    """
    with Path(path).open("rb") as opened:
        data = opened.read() if most is None else opened.read(most + 1)
    if most is not None and len(data) > most:
        raise ValueError(f"it is longer than {most} bytes")
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            raise ValueError(f"it is {name}: save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"line {line} is not UTF-8 (byte 0x{data[error.start]:02x}): save it as UTF-8"
        ) from None
    if "\0" in text:
        line = data.count(b"\n", 0, data.index(0)) + 1
        raise ValueError(f"line {line} holds a NUL byte, as UTF-16 does: save it as UTF-8")
    return text


@contextmanager
def atomic_file(path: Path | str, new: bool = False) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it replaces `path`, on failure it goes.

    Args:
        new: replace nothing.

    Raises:
        OutputError: the folder cannot be made or written to.
        FileExistsError: it should be `new`, and there is such a file.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(_PART, _prefix(path), path.parent)
        os.close(handle)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    beside = Path(name)
    try:
        yield beside
        _sync(beside)
        beside.chmod(0o666 & ~_umask())
        if new:
            _move_to_free(beside, path)
        else:
            beside.replace(path)
    except OSError as error:
        if new and isinstance(error, FileExistsError):
            raise
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield a new folder beside `path` to fill; on success it takes the place of `path` whole.

    Raises:
        OutputError: the folder cannot be made, written to or replaced.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(_PART, _prefix(path), path.parent))
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        yield beside
        for file in (*beside.rglob("*"), beside):
            _sync(file)
        beside.chmod(0o777 & ~_umask())
        _swap(beside, path)
        _sync(path.parent)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def relative(name: str) -> PurePosixPath:
    """A name that anybody may have written, as a path that stays in its folder, links aside.

    Raises:
        ValueError: it leads out of it.
    """
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or re.search(r"[\\:\0]", name):
        raise ValueError(f"{name[:PART]!r}, which leads out of its folder")
    if any(len(part.encode(errors="replace")) > PART for part in path.parts):
        raise ValueError(f"{name[:PART]!r}..., which is too long for a file's name")
    return path


def inside(folder: Path, name: str) -> Path:
    """The file `name` of `folder`, wherever links lead to: see `relative`.

    A link may lead to the `blobs` of the hub cache that the folder lies in: of its repository,
    or those that all share.

    Raises:
        ValueError: it leads out of the folder.
    """
    file = folder / relative(name)
    real, home = file.resolve(), folder.resolve()
    homes = [home]
    for up in (home, *home.parents):  # CACHE/REPOSITORY/snapshots/COMMIT/...
        if up.parent.name == "snapshots":
            homes += [up.parents[1] / "blobs", up.parents[2] / "blobs"]
    if not any(real.is_relative_to(allowed) for allowed in homes):
        raise ValueError(f"{name!r}, which leads out of its folder")
    return file


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON with a final newline, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def remove_folder(path: Path) -> None:
    """Remove a folder so that no half of it is ever seen."""
    shutil.rmtree(_set_aside(path).parent, ignore_errors=True)


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove what killed processes left half-written in a folder, however deep.

    A folder that was just being replaced, and is not there any more, is put back. Nobody else may
    be writing in the folder meanwhile.

    Returns:
        The paths that were removed.
    """
    removed = []
    for place, folders, files in os.walk(folder):
        for name in filter(_LEFTOVER.fullmatch, files):
            (Path(place) / name).unlink(missing_ok=True)
            removed.append(Path(place) / name)
        for name in list(filter(_LEFTOVER.fullmatch, folders)):
            folders.remove(name)
            _put_back(Path(place) / name)
            shutil.rmtree(Path(place) / name, ignore_errors=True)
            removed.append(Path(place) / name)
    return removed


def _put_back(aside: Path) -> None:
    """The folder that `_swap` had set aside, where nothing has taken its place."""
    if not aside.name.startswith(_ASIDE):
        return
    for old in aside.iterdir():
        if not (aside.parent / old.name).exists():
            old.rename(aside.parent / old.name)


class Lock:
    """A file that one process at a time may hold; the system lets go of it when that ends.

    `held` is False on file systems without locks, where nobody is kept out.

    Raises:
        UsageError: another process holds it; named are its number, its machine and since when.
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, what: str) -> None:
        try:
            self._file: IO[str] = path.open("a+", encoding="utf-8")
            self.held = _try_lock(self._file)
            now = datetime.now().astimezone().isoformat(" ", "seconds")
            self._file.truncate(0)
            self._file.write(f"process {os.getpid()} on {socket.gethostname()} since {now}\n")
            self._file.flush()
        except BlockingIOError:
            self._file.seek(0)
            who = self._file.read().strip() or "another process"
            self._file.close()
            raise UsageError(f"{what} is in use by {who}; wait for it, or stop it") from None
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from None

    def release(self) -> None:
        """Let go of it; the file stays, for another may be about to take it."""
        if hasattr(self, "_file"):
            self._file.close()

    __del__ = release


_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[str]) -> bool:
        """Whether the file system has locks. Raises BlockingIOError where another holds it."""
        file.seek(2**30)  # a byte far behind the text, which others may then read
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EDEADLK):
                raise BlockingIOError from None
            return False
        return True

else:
    import fcntl

    def _try_lock(file: IO[str]) -> bool:
        """Whether the file system has locks. Raises BlockingIOError where another holds it.

        A record lock, and not flock's: forked workers do not hold it on when this process is gone.
        """
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise BlockingIOError from None
            if error.errno not in _NO_LOCKS:
                raise
            return False
        return True


_ASIDE = ".aside."


def _prefix(path: Path) -> str:
    return f".{os.fsencode(path.name)[:_LONGEST].decode(errors='ignore')}."


def _set_aside(path: Path) -> Path:
    """Move a folder out of the way, under its own name in a new one beside it."""
    aside = Path(tempfile.mkdtemp(_PART, _ASIDE, path.parent)) / path.name
    try:
        path.rename(aside)
    except OSError:
        aside.parent.rmdir()
        raise
    return aside


def _move_to_free(beside: Path, path: Path) -> None:
    """Rename, but to a name that nothing has: a hard link is made or fails in one go."""
    try:
        os.link(beside, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        beside.rename(path)


def _swap(beside: Path, path: Path) -> None:
    """Rename `beside` to `path`; a folder already there is moved out of the way, then removed."""
    if not path.exists():
        beside.rename(path)
        return
    old = _set_aside(path)
    try:
        beside.rename(path)
    except BaseException:  # a signal may come here too
        if not path.exists():
            old.rename(path)
            old.parent.rmdir()
        raise
    shutil.rmtree(old.parent, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
