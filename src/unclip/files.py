"""Atomic writing of files and folders (temporary file, fsync, rename), and reading of UTF-8 text.

A temporary file is called `.NAME.xxxxxxxx.part` and is next to its target. `remove_leftovers` finds
those of killed processes by that name.
"""

from __future__ import annotations

import codecs
import json
import ntpath
import os
import posixpath
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import OutputError

_LEFTOVER = re.compile(r"\..+\.[a-z0-9_]{8}\.part")
_ASIDE = "aside"
_LONGEST = 50  # bytes of the target's name in the temporary name: systems allow 255 in all

_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}  # in this order: some are prefixes of others


PART = 255
"""Longest name of a file or folder in bytes on common systems."""


def text_of(path: Path | str, most: int | None = None) -> str:
    """The contents of a UTF-8 text file, without a byte-order mark.

    Args:
        path: the file.
        most: largest size in bytes; no more is read.

    Raises:
        OSError: it cannot be read.
        ValueError: it is longer, or not UTF-8 text; the message gives the line.
    """
    with Path(path).open("rb") as opened:
        data = opened.read() if most is None else opened.read(most + 1)
    if most is not None and len(data) > most:
        raise ValueError(f"it is longer than {most} bytes")
    return decoded(data)


def decoded(data: bytes) -> str:
    """UTF-8 text, without a byte-order mark. Raises ValueError, as `text_of`."""
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            raise ValueError(f"it is {name}; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"line {line} is not UTF-8 (byte 0x{data[error.start]:02x}): save it as UTF-8"
        ) from None
    if "\0" in text:
        line = data.count(b"\n", 0, data.index(0)) + 1
        raise ValueError(f"line {line} has a NUL byte, as in UTF-16; save it as UTF-8")
    return text


@contextmanager
def atomic_file(path: Path | str, new: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write to; it replaces `path` on success and is removed on failure.

    Args:
        new: fail if `path` exists.

    Raises:
        OutputError: the folder cannot be created or written to.
        FileExistsError: `new`, and `path` exists.
    """
    path, moved = Path(path), True
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = _beside(path.parent, path.name)
        beside.touch(exist_ok=False)
        try:
            yield beside
            sync(beside)
            if new:
                moved = _moved_to_free(beside, path)
            else:
                beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    if not moved:
        raise FileExistsError(path)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield a temporary folder to fill; on success it replaces `path` as a whole.

    Raises:
        OutputError: the folder cannot be created, written to or replaced.
    """
    path = Path(path)
    with writing(path):
        beside = _beside(path.parent, path.name)
        beside.mkdir(parents=True)
        try:
            yield beside
            for file in (*beside.rglob("*"), beside):
                sync(file)
            _swap(beside, path)
            sync(path.parent)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turn system errors into OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def relative(name: str) -> str:
    """Normalise a relative path from an untrusted file, which must stay inside its folder.

    Links are not resolved. Paths that leave the folder on Windows are rejected everywhere.

    Raises:
        ValueError: it is not a valid path, or leaves the folder.
    """
    clean = posixpath.normpath(name)
    windows = ntpath.normpath(name)
    out = clean.startswith(("/", "../")) or windows.startswith(("\\", "..\\"))
    if out or clean in (".", "..") or ntpath.splitdrive(windows)[0]:
        raise ValueError(f"{name[:PART]!r}, which leads out of its folder")
    if "\0" in name:
        raise ValueError(f"{name[:PART]!r}, which has a NUL byte")
    if any(len(part.encode(errors="replace")) > PART for part in clean.split("/")):
        raise ValueError(f"{name[:PART]!r}..., which is too long for a file name")
    return clean


def inside(folder: Path, name: str) -> Path:
    """The file `name` of `folder` with links resolved; see `relative`.

    Links may point to the `blobs` of the hub cache that contains the folder, of its repository or
    shared.

    Raises:
        ValueError: it leaves the folder.
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
    """Remove a folder atomically."""
    shutil.rmtree(_set_aside(path).parent, ignore_errors=True)


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove temporary files of killed processes in a folder and its subfolders.

    A folder whose replacement was interrupted is restored. No other process may write in the folder
    at the same time.

    Returns:
        The removed paths.
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
    """The folder that `_swap` moved away, if nothing has replaced it."""
    if not aside.name.startswith(f".{_ASIDE}."):
        return
    for old in aside.iterdir():
        if not (aside.parent / old.name).exists():
            old.rename(aside.parent / old.name)


def _beside(folder: Path, name: str) -> Path:
    """An unused name in `folder` that `remove_leftovers` recognises."""
    start = os.fsencode(name)[:_LONGEST].decode(errors="ignore")
    return folder / f".{start}.{secrets.token_hex(4)}.part"


def _set_aside(path: Path) -> Path:
    """Move a folder, with its name, into a new folder next to it."""
    aside = _beside(path.parent, _ASIDE)
    aside.mkdir()
    try:
        return path.rename(aside / path.name)
    except OSError:
        aside.rmdir()
        raise


def _moved_to_free(beside: Path, path: Path) -> bool:
    """Rename without replacing anything: creating a hard link is atomic."""
    try:
        os.link(beside, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            return False
        beside.rename(path)
    return True


def _swap(beside: Path, path: Path) -> None:
    """Rename `beside` to `path`; an existing folder is moved away first, then removed."""
    if not path.exists():
        beside.rename(path)
        return
    old = _set_aside(path)
    try:
        beside.rename(path)
    except BaseException:  # a signal may arrive here too
        if not path.exists():
            old.rename(path)
            old.parent.rmdir()
        raise
    shutil.rmtree(old.parent, ignore_errors=True)


def sync(path: Path) -> None:
    """Bring a file or a folder to the disk. Windows keeps folders by itself."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
