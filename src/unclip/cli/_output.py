"""Where pictures go, and the record that each PNG carries."""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from ..errors import OutputError, UsageError
from ..files import atomic_file
from ._terminal import size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL.Image import Image

    from ..request import Cost

FORMATS = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}
_QUALITY = {"WEBP": {"quality": 95}, "JPEG": {"quality": 95, "subsampling": 0}}

MAX_SIDE = {"PNG": 2**31 - 1, "WEBP": 16383, "JPEG": 65500}
"""Pixels of the longest side: of the formats, and of the library that writes JPEG."""

MAX_SHEET = 178_000_000
"""Pixels of the largest picture that is written: Pillow opens no larger one unasked."""

STDOUT = "-"


@dataclass(frozen=True)
class Target:
    """A picture's file, a film's, a folder for one file each, or stdout."""

    path: Path
    is_folder: bool = False
    fps: float | None = None  # a film's
    is_stdout: bool = False
    gives_way: bool = False  # a name of our own choice: what lies there is not overwritten

    @classmethod
    def of(cls, output: str, fps: float | None = None) -> Target:
        """Read `-o`: a folder where it ends in a slash, is one already or has no suffix.

        Args:
            fps: frames a second, where the pictures are frames: .gif, .webp and .mp4 are films.

        Raises:
            UsageError: the suffix is of no format that is written here, or the fps of no film.
            OutputError: a file stands where the folder should be, or there is no ffmpeg.
        """
        if output == STDOUT:
            return cls(Path("stdout"), is_stdout=True)
        path = Path(output).expanduser()
        there = os.path.isdir(path)
        if output.endswith("/") or there or not path.suffix:
            if os.path.lexists(path) and not there:
                raise OutputError(f"cannot write into {path}: it is a file, not a folder")
            return cls(path, True)
        if fps is not None and is_film(path, fps):
            return cls(path, False, fps)
        format_of(path, films=fps is not None)
        return cls(path, False)

    @classmethod
    def default(cls, name: str) -> Target:
        """A PNG in this folder; with `-2`, `-3`, ... where another picture has the name."""
        return replace(cls.of(f"./{name}.png"), path=Path(f"{name}.png"), gives_way=True)

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
            check_writable(self.path / f"{max(names, key=lambda one: len(os.fsencode(one)))}.png")
        else:
            check_writable(self.path)

    def expect(
        self,
        cost: Cost,
        names: Callable[[int], list[str]],
        sheet: Callable[[Cost], tuple[int, int]] | None = None,
    ) -> None:
        """Find out whether its format can hold what is to be drawn, and its disk.

        Args:
            cost: of what is to be written.
            names: of so many pictures, in a folder.
            sheet: width and height of all pictures on one; without it, of a square grid.

        Raises:
            UsageError: they are too large.
            OutputError: there is no room.
        """
        from ..media.grid import Grid

        if self.is_folder:
            self.check(names(cost.pictures))
        if self.fps is not None:
            from ..media.film import check_film

            check_film(self.path, cost.size)
        else:
            kind = "PNG" if self.is_folder or self.is_stdout else format_of(self.path)
            whole = sheet(cost) if sheet else Grid(cost.pictures, cost.size).whole
            check_sides(cost.size if self.is_folder else whole, kind)
        if not self.is_stdout:
            each = cost.size[0] * cost.size[1] * 3
            check_room(self.path, cost.pictures * each // 20)  # no format writes less of much

    def write(
        self, pictures: Sequence[Image], names: Sequence[str], sheet: Callable[[], Image]
    ) -> Path:
        """One PNG each, of these names, in a folder; otherwise a film, or `sheet` in a file.

        Returns:
            Where it all is now.
        """
        if self.is_folder:
            _save_all(pictures, self.path, names)
        elif self.is_stdout:
            _send(sheet())
        elif self.fps is not None:
            from ..media.film import save_film

            save_film(pictures, self.path, self.fps, bounce=True)
        elif self.gives_way:
            return _save_all([sheet()], self.path.parent, [self.path.stem])[0]
        else:
            save(sheet(), self.path)
        return self.path


def check_sides(
    size: tuple[int, int], kind: str, instead: str = "fewer, or for one file each (-o DIR/)"
) -> None:
    """Raise UsageError where the format, or memory, has no room for a picture of `size`.

    Args:
        instead: what may be asked for.
    """
    width, height = size
    what = f"a picture of {width:,}×{height:,} pixels"
    if max(size) > MAX_SIDE[kind]:
        raise UsageError(
            f"{what} is more than {kind} can hold, {MAX_SIDE[kind]:,} a side: ask for a .png, for "
            f"{instead}"
        )
    if width * height > MAX_SHEET:
        raise UsageError(
            f"{what} is more than the {MAX_SHEET // 10**6} million that are written: ask for "
            f"{instead}"
        )


def _save_all(pictures: Sequence[Image], folder: Path, names: Sequence[str]) -> list[Path]:
    """PNGs of these names, or all with `-2`, `-3`, ... where another picture has one of them.

    The same picture, by its record, is written over: the same request has the same names.
    """
    pairs = list(zip(names, pictures, strict=True))
    for number in count(1):
        if all(_is_free(_numbered(folder, name, number), one) for name, one in pairs):
            return [_save_new(folder, name, number, one) for name, one in pairs]
    raise AssertionError("numbers do not end")


def _numbered(folder: Path, name: str, number: int) -> Path:
    return folder / (f"{name}.png" if number == 1 else f"{name}-{number}.png")


def _save_new(folder: Path, name: str, number: int, picture: Image) -> Path:
    """Write where no other picture is: another run may have taken the name by now."""
    while True:
        path = _numbered(folder, name, number)
        try:
            save(picture, path, new=not _is_same(path, picture))
        except FileExistsError:
            number += 1
        else:
            return path


def _is_free(path: Path, picture: Image) -> bool:
    return not os.path.lexists(path) or _is_same(path, picture)


def _is_same(path: Path, picture: Image) -> bool:
    """Whether a PNG carries the record of `picture`; found without decoding it."""
    record = picture.info.get("unclip")
    if not isinstance(record, str):
        return False
    try:
        with path.open("rb") as file:
            return b"unclip\0\0\0\0\0" + record.encode() in file.read(2**20)
    except OSError:
        return False


def _stdout() -> BinaryIO:
    """Where a PNG can be sent. Raises OutputError."""
    stream = getattr(sys.stdout, "buffer", None)
    if (
        stream is None or getattr(sys.stdout, "name", "") == os.devnull
    ):  # put there by `open_streams`
        raise OutputError("cannot write to stdout: it is closed")
    if sys.stdout.isatty():
        raise OutputError("cannot write a PNG to a terminal: send stdout to a file or a program")
    return cast(BinaryIO, stream)


def _send(picture: Image) -> None:
    """A PNG to stdout. Raises OutputError."""
    data, stream = io.BytesIO(), _stdout()
    _encode(picture, data, "PNG")
    try:
        stream.write(data.getvalue())
        stream.flush()
    except OSError as error:
        raise OutputError(f"cannot write to stdout: {error.strerror or error}") from None


def is_film(path: Path, fps: float) -> bool:
    """Whether a file's suffix is a film's. Raises UsageError, OutputError where none can be."""
    from ..media.film import FILM_FORMATS, MAX_FPS, MIN_FPS, check_film

    if path.suffix.lower() not in FILM_FORMATS:
        return False
    kind = check_film(path)
    if not MIN_FPS <= fps <= MAX_FPS[kind]:
        most = f"{MAX_FPS[kind]:g} for {kind}"
        raise UsageError(f"--fps must be between {MIN_FPS:g} and {most}, got {fps:g}")
    return True


def format_of(path: Path, films: bool = False) -> str:
    """Pillow's name of the format that a file's suffix stands for. Raises UsageError."""
    if path.suffix.lower() not in FORMATS:
        known = ".png, .jpg, .gif, .webp or .mp4" if films else ".png, .webp or .jpg"
        raise UsageError(
            f"cannot write '{path.suffix}' pictures: {path} should end in {known}, "
            "or in / for a folder"
        )
    return FORMATS[path.suffix.lower()]


def check_writable(path: Path) -> None:
    """Raise OutputError where the file `path` cannot be made. Leaves nothing behind."""
    try:
        if os.path.isdir(path):
            raise OutputError(f"cannot write {path}: it is a folder")
        folder = _existing(path)
        for part in path.relative_to(folder).parts:
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
    folder = path.parent
    while not os.path.exists(folder):
        folder = folder.parent
    return folder


def save(picture: Image, path: Path, new: bool = False) -> None:
    """Write a picture, atomically; a PNG carries its record.

    Raises:
        OutputError: it cannot be written.
        FileExistsError: it should be `new`, and there is one.
    """
    kind = format_of(path)
    with atomic_file(path, new) as beside:
        _encode(picture, beside, kind)


def _encode(picture: Image, to: Path | BinaryIO, kind: str) -> None:
    from PIL.PngImagePlugin import PngInfo

    options: dict[str, object] = dict(_QUALITY.get(kind, {}))
    record = picture.info.get("unclip")
    if kind == "PNG" and isinstance(record, str):
        chunks = PngInfo()
        chunks.add_itxt("unclip", record)
        options["pnginfo"] = chunks
    picture.save(to, format=kind, **options)


def as_one(
    pictures: Sequence[Image], columns: int | None = None, labels: Sequence[str] | None = None
) -> Image:
    """The one picture, or a grid of several whose record says how many there are.

    Args:
        columns: pictures a row; without it, as square as can be.
        labels: a caption under each.
    """
    from ..media.grid import make_grid
    from ..request import Record

    if len(pictures) == 1:
        return pictures[0]
    grid = make_grid(pictures, columns, labels)
    grid.info["unclip"] = replace(Record.of(pictures[0]), n=len(pictures)).to_json()
    return grid


def slug(prompt: str) -> str:
    """A prompt as part of a file's name: 'A red car!' -> 'a-red-car'."""
    words = re.sub(r"[\W_]+", "-", prompt.lower()).strip("-")
    return shortened(words[:48], 96).strip("-") or "picture"


def shortened(name: str, most: int) -> str:
    """A name of at most so many bytes, which file systems count: 255 with all that follows."""
    return os.fsencode(name)[:most].decode(errors="ignore")
