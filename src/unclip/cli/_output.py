"""Where pictures go, what their files are called, and the record that each carries."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from ..bulk.names import is_free, numbered, save_new
from ..errors import OutputError, UsageError, about
from ._result import FLAG, current, report
from ._terminal import size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

    from ..cost import Cost

STDOUT = "-"

SEVERAL = "prompts"
"""What the record of a sheet of several prompts has as its ability."""


class Sheet(Protocol):
    """How several pictures become one, and what they are called one by one."""

    def names(self, count: int) -> list[str]:
        """A file each, without suffix."""

    def size(self, cost: Cost) -> tuple[int, int]:
        """Width and height of the whole, before there is a picture."""

    def make(self, pictures: Sequence[Image]) -> Image:
        """All of them on one."""


@dataclass(frozen=True)
class Target:
    """A picture's file, a film's, a folder for one file each, or stdout."""

    path: Path
    is_folder: bool = False
    fps: float | None = None  # a film's
    is_stdout: bool = False
    numbered: bool = False  # a name of our own choice: what lies there is not overwritten
    suffix: str = ".png"  # of the files in a folder
    grid: bool = False  # a sheet and its pictures one by one

    @classmethod
    @about("output")
    def of(cls, output: str, fps: float | None = None) -> Target:
        """Read `-o`: a folder where it ends in a slash, is one already or has no suffix.

        Args:
            fps: frames a second, where the pictures are frames: .gif, .webp and .mp4 are films.

        Raises:
            UsageError: the suffix is of no format that is written here, or the fps of no film.
            OutputError: a file stands where the folder should be, or there is no ffmpeg.
        """
        from ..media.film import FILM_FORMATS, check_film
        from ..media.writing import format_of

        if output == STDOUT:
            return cls(Path("stdout"), is_stdout=True)
        path = Path(output).expanduser()
        folder = os.path.isdir(path)
        if output.endswith("/") or folder or not path.suffix:
            if os.path.lexists(path) and not folder:
                raise OutputError(f"cannot write into {path}: it is a file, not a folder")
            return cls(path, True)
        if fps is not None and path.suffix.lower() in FILM_FORMATS:
            check_film(path, fps=fps)
            return cls(path, fps=fps)
        format_of(path, *([] if fps is None else [".png, .jpg, .gif, .webp or .mp4"]))
        return cls(path)

    @classmethod
    def default(cls, name: str) -> Target:
        """A PNG in this folder; with `-2`, `-3`, ... where another picture has the name."""
        return replace(cls.of(f"./{name}.png"), path=Path(f"{name}.png"), numbered=True)

    @about("output")
    def check(self, names: Sequence[str] = ("picture",)) -> None:
        """Find out now, not after the work, whether it can be written.

        Args:
            names: of pictures in a folder.

        Raises:
            OutputError: it cannot be.
        """
        if self.is_stdout:
            _stdout()
        elif self.is_folder:
            longest = max(names, key=lambda one: len(os.fsencode(one)))
            check_writable(self.path / f"{longest}{self.suffix}")
        else:
            check_writable(self.path)

    @about("output")
    def expect(self, cost: Cost, sheet: Sheet) -> None:
        """Find out whether its format can hold what is to be drawn, and its disk.

        Raises:
            UsageError: the pictures are too large.
            OutputError: there is no room.
        """
        from ..media.film import check_film
        from ..media.writing import check_sides, format_of

        if self.is_folder:
            self.check(sheet.names(cost.pictures))
        if self.fps is not None:
            check_film(self.path, cost.size)
        else:
            written = Path(f"_{self.suffix}") if self.is_folder else self.path
            kind = "PNG" if self.is_stdout else format_of(written)
            single = self.is_folder and not self.grid
            check_sides(cost.size if single else sheet.size(cost), kind)
        if not self.is_stdout:
            each = cost.size[0] * cost.size[1] * 3
            check_room(self.path, cost.pictures * each // 20)  # no format writes less of much

    @about("output")
    def write(self, pictures: Sequence[Image], sheet: Sheet) -> Path:
        """One PNG each in a folder; otherwise a film, or all on one sheet in a file.

        Returns:
            Where it all is now.
        """
        from ..record import Record

        files = self._written(pictures, sheet)
        records = [Record.of(one) for one in pictures]
        report(files=files, seeds=[one.seed for one in records])
        report(records=[json.loads(one.to_json()) for one in records])
        return files[0] if self.numbered and not self.is_folder else self.path

    def _written(self, pictures: Sequence[Image], sheet: Sheet) -> list[Path]:
        """The files."""
        from ..media.film import save_film
        from ..media.writing import save

        names = sheet.names(len(pictures))
        if self.is_folder:
            written = _save_all(pictures, self.path, names, self.suffix)
            if self.grid and len(pictures) > 1:
                sheets = [f"{names[0]}-grid"]
                written += _save_all([sheet.make(pictures)], self.path, sheets, self.suffix)
            return written
        if self.numbered:
            return _save_all([sheet.make(pictures)], self.path.parent, [self.path.stem])
        if self.is_stdout:
            _send(sheet.make(pictures))
            return []
        if self.fps is not None:
            save_film(pictures, self.path, self.fps, bounce=True)
        else:
            save(sheet.make(pictures), self.path)
            if self.grid and len(pictures) > 1:
                beside = [f"{self.path.stem}-{number + 1}" for number in range(len(pictures))]
                own = _save_all(pictures, self.path.parent, beside, self.path.suffix)
                return [self.path, *own]
        return [self.path]


def _save_all(
    pictures: Sequence[Image], folder: Path, names: Sequence[str], suffix: str = ".png"
) -> list[Path]:
    """Files of these names, or all with `-2`, `-3`, ... where another picture has one of them.

    The same picture, by its record, is written over: the same request has the same names.
    """
    pairs = list(zip((folder / f"{name}{suffix}" for name in names), pictures, strict=True))
    for number in count(1):
        if all(is_free(numbered(path, number), one) for path, one in pairs):
            return [save_new(path, number, one) for path, one in pairs]
    raise AssertionError("numbers do not end")


def _stdout() -> BinaryIO:
    """Where a PNG can be sent. Raises OutputError, and UsageError where JSON is sent there."""
    if current().wanted:
        text = f"the picture and the result of {FLAG} both go to stdout: give -o FILE"
        raise UsageError(text).about("output")
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None or getattr(sys.stdout, "name", "") == os.devnull:  # see `open_streams`
        raise OutputError("cannot write to stdout: it is closed")
    if sys.stdout.isatty():
        raise OutputError("cannot write a PNG to a terminal: send stdout to a file or a program")
    return cast(BinaryIO, stream)


def _send(picture: Image) -> None:
    """A PNG to stdout. Raises OutputError."""
    from ..media.writing import encode

    data, stream = io.BytesIO(), _stdout()
    encode(picture, data)
    try:
        stream.write(data.getvalue())
        stream.flush()
    except OSError as error:
        raise OutputError(f"cannot write to stdout: {error.strerror or error}") from None


def check_writable(path: Path) -> None:
    """Raise OutputError where the file `path` cannot be made. Leaves nothing behind."""
    try:
        if os.path.isdir(path):
            raise OutputError(f"cannot write {path}: it is a folder")
        folder = _existing(path)
        for part in path.absolute().relative_to(folder).parts:
            with suppress(FileNotFoundError):
                os.lstat(folder / part)  # names that are too long are found where they would be
        with tempfile.NamedTemporaryFile(prefix=".unclip-", dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from None
    except ValueError as error:  # a NUL inside
        raise OutputError(f"cannot write {str(path)!r}: {error}") from None
    check_room(path, 1)


def check_room(path: Path, needed: int) -> None:
    """Raise OutputError where the disk of `path` has no room for so many bytes."""
    try:
        disk = shutil.disk_usage(_existing(path))
    except OSError:
        return
    if disk.total and disk.free < needed:  # not every file system tells
        raise OutputError(
            f"cannot write {path}: it takes {size(needed)} or more, and {size(disk.free)} are free"
        )


def _existing(path: Path) -> Path:
    """The nearest folder above `path` that there is."""
    return next(folder for folder in path.absolute().parents if os.path.exists(folder))
