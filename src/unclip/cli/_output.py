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
    from collections.abc import Sequence

    from PIL.Image import Image

FORMATS = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}
_QUALITY = {"WEBP": {"quality": 95}, "JPEG": {"quality": 95, "subsampling": 0}}


@dataclass(frozen=True)
class Target:
    """A picture's file, or a folder for one file each."""

    path: Path
    is_folder: bool

    @classmethod
    def of(cls, output: str) -> Target:
        """Read `-o`: a folder where it ends in a slash, is one already or has no suffix.

        Raises:
            UsageError: the suffix is of no format that is written here.
            OutputError: a file stands where the folder should be.
        """
        path = Path(output).expanduser()
        folder = output.endswith("/") or path.is_dir() or not path.suffix
        if not folder:
            format_of(path)
        elif path.exists() and not path.is_dir():
            raise OutputError(f"cannot write into {path}: it is a file, not a folder")
        return cls(path, folder)

    def check(self) -> None:
        """Find out now, not after the work, whether it can be written. Raises OutputError."""
        check_writable(self.path / "picture.png" if self.is_folder else self.path)

    def write(self, pictures: Sequence[Image], name: str, seed: int) -> None:
        """One file each, `name-SEED.png`, in a folder; otherwise one file with all of them."""
        if not self.is_folder:
            save(as_one(pictures), self.path)
            return
        for index, picture in enumerate(pictures):
            save(picture, self.path / f"{name}-{seed + index}.png")


def format_of(path: Path) -> str:
    """Pillow's name of the format that a file's suffix stands for. Raises UsageError."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(
            f"cannot write '{path.suffix}' pictures: {path} should end in .png, .webp or .jpg, "
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


def as_one(pictures: Sequence[Image]) -> Image:
    """The one picture, or a grid of several whose record says how many there are."""
    from ..grid import make_grid
    from ..pipeline import Record

    if len(pictures) == 1:
        return pictures[0]
    grid = make_grid(pictures)
    grid.info["unclip"] = replace(Record.of(pictures[0]), n=len(pictures)).to_json()
    return grid


def slug(prompt: str) -> str:
    """A prompt as part of a file's name: 'A red car!' -> 'a-red-car'."""
    words = re.sub(r"[\W_]+", "-", prompt.lower()).strip("-")
    return words[:48].strip("-") or "picture"
