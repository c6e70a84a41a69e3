"""Files: nothing half-written is ever seen (write beside, fsync, rename), and text is UTF-8."""

from __future__ import annotations

import codecs
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import OutputError

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
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it replaces `path`, on failure it goes.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    beside = Path(name)
    try:
        yield beside
        _sync(beside)
        beside.chmod(0o666 & ~_umask())
        beside.replace(path)
    except OSError as error:
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
        beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
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


def _swap(beside: Path, path: Path) -> None:
    """Rename `beside` to `path`; a folder already there is moved out of the way, then removed."""
    if not path.exists():
        beside.rename(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent)) / "old"
    path.rename(old)
    try:
        beside.rename(path)
    except OSError:
        old.rename(path)
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
