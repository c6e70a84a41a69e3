"""Files: nothing half-written is ever seen (write beside, fsync, rename), and text is UTF-8.

What is being written lies beside its target as `.NAME.xxxxxxxx.part`; a process that is killed
leaves it there, and `remove_leftovers` finds it by that name.
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
    path, moved = Path(path), True
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = _beside(path.parent, path.name)
        beside.touch(exist_ok=False)
        try:
            yield beside
            _sync(beside)
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
    """Yield a new folder beside `path` to fill; on success it takes the place of `path` whole.

    Raises:
        OutputError: the folder cannot be made, written to or replaced.
    """
    path = Path(path)
    with writing(path):
        beside = _beside(path.parent, path.name)
        beside.mkdir(parents=True)
        try:
            yield beside
            for file in (*beside.rglob("*"), beside):
                _sync(file)
            _swap(beside, path)
            _sync(path.parent)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Raise OutputError in place of the system's errors."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def relative(name: str) -> str:
    """A name that anybody may have written, without detours, if it stays in its folder.

    Links are not looked at; a name that leads out of the folder on Windows leads out anywhere.

    Raises:
        ValueError: it is none, or leads out of it.
    """
    clean = posixpath.normpath(name)
    windows = ntpath.normpath(name)
    out = clean.startswith(("/", "../")) or windows.startswith(("\\", "..\\"))
    if out or clean in (".", "..") or ntpath.splitdrive(windows)[0]:
        raise ValueError(f"{name[:PART]!r}, which leads out of its folder")
    if "\0" in name:
        raise ValueError(f"{name[:PART]!r}, which holds a NUL byte")
    if any(len(part.encode(errors="replace")) > PART for part in clean.split("/")):
        raise ValueError(f"{name[:PART]!r}..., which is too long for a file's name")
    return clean


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
    if not aside.name.startswith(f".{_ASIDE}."):
        return
    for old in aside.iterdir():
        if not (aside.parent / old.name).exists():
            old.rename(aside.parent / old.name)


def _beside(folder: Path, name: str) -> Path:
    """A name in `folder` that nothing has, by which `remove_leftovers` finds it."""
    start = os.fsencode(name)[:_LONGEST].decode(errors="ignore")
    return folder / f".{start}.{secrets.token_hex(4)}.part"


def _set_aside(path: Path) -> Path:
    """Move a folder out of the way, under its own name in a new one beside it."""
    aside = _beside(path.parent, _ASIDE)
    aside.mkdir()
    try:
        return path.rename(aside / path.name)
    except OSError:
        aside.rmdir()
        raise


def _moved_to_free(beside: Path, path: Path) -> bool:
    """Rename, but to a name that nothing has: a hard link is made or fails in one go."""
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
