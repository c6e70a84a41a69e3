"""Files: nothing half-written is ever seen (write beside, fsync, rename), and text is UTF-8."""

from __future__ import annotations

import codecs
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import OutputError

_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}  # in this order: one begins as another does


def text_of(path: Path | str) -> str:
    """What a text file holds, in UTF-8, without the byte-order mark that some editors put first.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no UTF-8, or no text; the message gives the line.
    """
    data = Path(path).read_bytes()
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
        handle, name = tempfile.mkstemp(prefix=_prefix(path), dir=path.parent)
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
        beside = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
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


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON with a final newline, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _prefix(path: Path) -> str:
    """Of temporary names: with all of a long one they would be too long themselves."""
    return f".{path.name[:40]}."


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
    old = Path(tempfile.mkdtemp(prefix=f"{_prefix(path)}old.", dir=path.parent)) / "old"
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
