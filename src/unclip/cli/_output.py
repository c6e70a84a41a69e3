"""Where pictures go, and the record that each PNG carries."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OutputError, UsageError
from ..files import atomic_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL.Image import Image

FORMATS = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}
_QUALITY = {"WEBP": {"quality": 95}, "JPEG": {"quality": 95, "subsampling": 0}}


@dataclass(frozen=True)
class Target:
    """A picture's file, a film's, or a folder for one file each."""

    path: Path
    is_folder: bool
    fps: float | None = None  # a film's

    @classmethod
    def of(cls, output: str, fps: float | None = None) -> Target:
        """Read `-o`: a folder where it ends in a slash, is one already or has no suffix.

        Args:
            fps: frames a second, where the pictures are frames: .gif, .webp and .mp4 are films.

        Raises:
            UsageError: the suffix is of no format that is written here, or the fps of no film.
            OutputError: a file stands where the folder should be, or there is no ffmpeg.
        """
        path = Path(output).expanduser()
        if output.endswith("/") or path.is_dir() or not path.suffix:
            if path.exists() and not path.is_dir():
                raise OutputError(f"cannot write into {path}: it is a file, not a folder")
            return cls(path, True)
        if fps is not None and is_film(path, fps):
            return cls(path, False, fps)
        format_of(path, films=fps is not None)
        return cls(path, False)

    def check(self) -> None:
        """Find out now, not after the work, whether it can be written. Raises OutputError."""
        check_writable(self.path / "picture.png" if self.is_folder else self.path)

    def write(
        self, pictures: Sequence[Image], names: Sequence[str], sheet: Callable[[], Image]
    ) -> None:
        """One PNG each, of these names, in a folder; otherwise a film, or `sheet` in a file."""
        if self.is_folder:
            for picture, name in zip(pictures, names, strict=True):
                save(picture, self.path / f"{name}.png")
        elif self.fps is not None:
            from ..film import save_film

            save_film(pictures, self.path, self.fps, bounce=True)
        else:
            save(sheet(), self.path)


def is_film(path: Path, fps: float) -> bool:
    """Whether a file's suffix is a film's. Raises UsageError, OutputError where none can be."""
    from ..film import FILM_FORMATS, MAX_FPS, MIN_FPS, check_film

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
        if path.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder")
        folder = path.parent
        while not folder.exists():
            folder = folder.parent
        with tempfile.NamedTemporaryFile(prefix=".unclip-", dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from None


def save(picture: Image, path: Path) -> None:
    """Write a picture, atomically; a PNG carries its record. Raises OutputError."""
    from PIL.PngImagePlugin import PngInfo

    kind = format_of(path)
    options: dict[str, object] = dict(_QUALITY.get(kind, {}))
    record = picture.info.get("unclip")
    if kind == "PNG" and isinstance(record, str):
        chunks = PngInfo()
        chunks.add_itxt("unclip", record)
        options["pnginfo"] = chunks
    with atomic_file(path) as beside:
        picture.save(beside, format=kind, **options)


def as_one(
    pictures: Sequence[Image], columns: int | None = None, labels: Sequence[str] | None = None
) -> Image:
    """The one picture, or a grid of several whose record says how many there are.

    Args:
        columns: pictures a row; without it, as square as can be.
        labels: a caption under each.
    """
    from ..grid import make_grid
    from ..request import Record

    if len(pictures) == 1:
        return pictures[0]
    grid = make_grid(pictures, columns, labels)
    grid.info["unclip"] = replace(Record.of(pictures[0]), n=len(pictures)).to_json()
    return grid


def slug(prompt: str) -> str:
    """A prompt as part of a file's name: 'A red car!' -> 'a-red-car'."""
    words = re.sub(r"[\W_]+", "-", prompt.lower()).strip("-")
    return words[:48].strip("-") or "picture"
