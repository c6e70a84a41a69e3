"""Write pictures: formats, largest sizes, and the record."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from ..errors import UsageError
from ..files import atomic_file
from .notes import RECORD, record_bytes, save_options

FORMATS = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}
_OPTIONS: dict[str, dict[str, Any]] = {
    # a third of the time of zlib's default, a twentieth of a smooth picture's, and hardly larger
    "PNG": {"compress_level": 1, "compress_type": zlib.Z_RLE},
    "WEBP": {"quality": 95},
    "JPEG": {"quality": 95, "subsampling": 0},
}

MAX_SIDE = {"PNG": 2**31 - 1, "WEBP": 16383, "JPEG": 65500}
"""Longest side in pixels: limits of the formats, and of the JPEG library."""

MAX_SHEET = 178_000_000
"""Most pixels of a written picture: Pillow does not open larger ones by default."""


_SEARCHED = 2**26
"""Bytes of a file that are searched for a record, which a WebP has at its end."""


def format_of(path: Path, known: str = ".png, .webp or .jpg") -> str:
    """Pillow's name of the format for the suffix of a file.

    Args:
        known: the suffixes to name in an error.

    Raises:
        UsageError: unknown suffix.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(
            f"cannot write '{path.suffix}' pictures: {path} should end in {known}, "
            "or in / for a folder"
        )
    return FORMATS[path.suffix.lower()]


def check_sides(
    size: tuple[int, int], kind: str, instead: str = "fewer, or for one file each (-o DIR/)"
) -> None:
    """Raise UsageError if a picture is too large for the format or for memory.

    Args:
        size: its (height, width).
        instead: alternatives to name in the error.
    """
    height, width = size
    what = f"a picture of {width:,}×{height:,} pixels is more than"
    if max(size) > MAX_SIDE[kind]:
        most = f"{kind} can hold, {MAX_SIDE[kind]:,} a side"
        raise UsageError(f"{what} {most}: ask for a .png, for {instead}")
    if width * height > MAX_SHEET:
        most = f"the {MAX_SHEET // 10**6} million that are written"
        raise UsageError(f"{what} {most}: ask for {instead}")


def save(picture: Image.Image, path: Path | str, new: bool = False) -> None:
    """Write a picture atomically, with its record.

    Raises:
        UsageError: it is no PIL picture, or another suffix than those of `FORMATS`.
        OutputError: it cannot be written.
        FileExistsError: `new`, and the file exists.

    Warns:
        RecordWarning: the record does not fit into the file.
    """
    if not isinstance(picture, Image.Image):
        raise UsageError(f"save takes one PIL picture, got a {type(picture).__name__}")
    path = Path(path)
    kind = format_of(path)
    with atomic_file(path, new) as beside:
        encode(picture, beside, kind)


def encode(
    picture: Image.Image, to: Path | BinaryIO, kind: str = "PNG", quality: int | None = None
) -> None:
    """Write a picture in one of `FORMATS`, with its record and parameters.

    Args:
        quality: 1 to 100, of a JPEG or WebP.
    """
    options = dict(_OPTIONS.get(kind, {}))
    if "quality" in options and quality is not None:
        options["quality"] = quality
    picture.save(to, format=kind, **options, **save_options(picture, kind))


def has_record_of(path: Path, picture: Image.Image) -> bool:
    """Whether a file has the record of `picture`, without decoding it."""
    record = picture.info.get(RECORD)
    if not isinstance(record, str):
        return False
    try:
        with path.open("rb") as file:
            return record_bytes(record, format_of(path)) in file.read(_SEARCHED)
    except OSError:
        return False
