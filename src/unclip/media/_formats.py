"""Which files are read as pictures, and how far they are trusted before they are decoded."""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from ..errors import UsageError
from ._metadata import without_metadata

Source = str | Path | bytes | BinaryIO | Image.Image
"""A file's path, its bytes, an open binary file (read from its start) or a picture."""

ORIENTATION = 0x0112
"""The tag of EXIF and TIFF that says how a picture is turned."""

MAX_PIXELS = 64_000_000
"""Width times height of the largest picture that is decoded."""

MAX_BYTES = 256 * 2**20
"""How much is read from a pipe, whose length nobody knows."""


# What Pillow raises at a damaged file. A warning is raised only where they are made errors.
DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, AttributeError),
    *(ArithmeticError, RuntimeError, MemoryError, struct.error, zlib.error),
    *(Image.DecompressionBombError, Warning),
)


class _Tiff(TiffImagePlugin.TiffImageFile):
    """A TIFF of which no tags are looked at that its pixels do not need."""

    def _setup(self) -> None:
        for tag in (TiffImagePlugin.X_RESOLUTION, TiffImagePlugin.Y_RESOLUTION):
            if tag in self.tag_v2:
                del self.tag_v2[tag]
        super()._setup()

    def getexif(self) -> Image.Exif:
        """The orientation, nothing else."""
        if self._exif is None:
            self._exif = Image.Exif()
            with suppress(*DAMAGE):
                self._exif[ORIENTATION] = self.tag_v2[ORIENTATION]
        return self._exif


class _Format(NamedTuple):
    """Pillow's class, not Image.open: that one warns of bombs, and no thread can stop a warning
    for itself alone; nor does it ever get to the formats that are left out, such as EPS.
    """

    reader: type[ImageFile.ImageFile]
    suffixes: tuple[str, ...]
    magic: bytes


_READ = {
    "PNG": _Format(PngImagePlugin.PngImageFile, (".png",), rb"\x89PNG\r\n\x1a\n"),
    "JPEG": _Format(
        JpegImagePlugin.JpegImageFile, (".jpg", ".jpeg", ".jpe", ".jfif"), rb"\xff\xd8\xff"
    ),
    "WEBP": _Format(WebPImagePlugin.WebPImageFile, (".webp",), rb"RIFF....WEBP"),
    "GIF": _Format(GifImagePlugin.GifImageFile, (".gif",), rb"GIF8[79]a"),
    "BMP": _Format(BmpImagePlugin.BmpImageFile, (".bmp",), rb"BM"),
    "TIFF": _Format(_Tiff, (".tif", ".tiff"), rb"II[*+]\0|MM\0[*+]"),
    "AVIF": _Format(AvifImagePlugin.AvifImageFile, (".avif",), rb".{4}ftyp(.{4}){0,8}?avi[fs]"),
    "PPM": _Format(
        PpmImagePlugin.PpmImageFile, (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"), rb"P[1-6fF]\s"
    ),
}
_BUILT = {"WEBP": WebPImagePlugin.SUPPORTED, "AVIF": AvifImagePlugin.SUPPORTED}

FORMATS = tuple(kind for kind in _READ if _BUILT.get(kind, True))
"""What is read here; WEBP and AVIF only where Pillow was built with them."""

SUFFIXES = tuple(suffix for kind in FORMATS for suffix in _READ[kind].suffixes)
"""What such files' names end in, in small letters; how they are read, their content decides."""

_MAGIC = {kind: form.magic for kind, form in _READ.items()} | {
    "EPS": rb"%!PS|\xc5\xd0\xd3\xc6",
    "PDF": rb"%PDF",
    "SVG": rb"\s*(<\?xml|<svg)",
    "PSD": rb"8BPS",
    "HEIC": rb".{4}ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)",
    "ICO": rb"\0\0\x01\0",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "QOI": rb"qoif",
}


def decode(source: Source, name: str, at_least: int | None = None) -> Image.Image:
    """The first frame of a picture as it is stored, with what is known of it in its `info`.

    Args:
        source: see `Source`.
        name: what errors call it.
        at_least: see `read_image`.

    Raises:
        UsageError: see `read_image`.
    """
    with refusing(name):
        if isinstance(source, Image.Image):
            if getattr(source, "format", None) == "EPS" and getattr(source, "tile", None):
                raise _not_read("EPS", name)  # to load it is to run Ghostscript
            _check_size(source.size, name)
            source.load()
            return source
        with _stream(source, name) as stream:
            kind = _kind_of(stream.read(64), name)
            with refusing(name, kind):
                return _decode(kind, stream, name, at_least)


@contextmanager
def refusing(name: str, kind: str | None = None) -> Iterator[None]:
    """Turn what Pillow raises at a damaged file into a UsageError that names it."""
    try:
        yield
    except UsageError:
        raise
    except DAMAGE as error:
        why = str(error).partition("\n")[0].replace("not identified by this driver", "no pixels")
        raise UsageError(
            f"cannot read {name}: this {kind or 'picture'} is damaged or unusual ({why})"
        ) from None


@contextmanager
def _stream(source: str | Path | bytes | BinaryIO, name: str) -> Iterator[BinaryIO]:
    """What `source` holds, from its start, to be read in any order."""
    if isinstance(source, bytes | bytearray | memoryview):
        source = io.BytesIO(source)
    with ExitStack() as stack:
        if isinstance(source, str | os.PathLike):
            try:
                source = stack.enter_context(Path(source).open("rb"))
            except (OSError, ValueError) as error:  # ValueError: a NUL inside
                reason = getattr(error, "strerror", None) or error
                raise UsageError(f"cannot read {name}: {reason}") from None
        yield _rewound(source, name)


def _rewound(stream: BinaryIO, name: str) -> BinaryIO:
    """The stream at its start; a pipe, which has no way back, in memory."""
    if not hasattr(stream, "read"):
        raise UsageError(f"cannot read a picture from a {type(stream).__name__}")
    if getattr(stream, "seekable", bool)():
        stream.seek(0)
        return stream
    data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UsageError(f"cannot read {name}: it is longer than {MAX_BYTES // 2**20} MB")
    return io.BytesIO(data)


def _kind_of(head: bytes, name: str) -> str:
    """The format that a file starts like. Raises UsageError where it is not read here."""
    if not head:
        raise UsageError(f"cannot read {name}: it is empty")
    kinds = (kind for kind, magic in _MAGIC.items() if re.match(magic, head, re.DOTALL))
    kind = next(kinds, None)
    if kind is None:
        raise UsageError(f"cannot read {name}: it is not a picture ({', '.join(FORMATS)})")
    if kind not in FORMATS:
        raise _not_read(kind, name)
    return kind


def _not_read(kind: str, name: str) -> UsageError:
    return UsageError(
        f"cannot read {name}: format {kind} is not read here; save it as one of "
        f"{', '.join(FORMATS)}"
    )


def _decode(kind: str, stream: BinaryIO, name: str, at_least: int | None) -> Image.Image:
    """The first frame, decoded. A header that promises too much is refused before that."""
    stream.seek(0)
    _check_size(_size_ahead(kind, stream), name)
    stream.seek(0)
    file, info = without_metadata(kind, stream)
    image = _READ[kind].reader(file)
    _check_size(image.size, name)
    if kind == "TIFF":  # libtiff makes room for a whole tile, however small the picture
        tags = cast(TiffImagePlugin.TiffImageFile, image).tag_v2
        _check_size((tags.get(322, 1), tags.get(323, 1)), name)
    if at_least is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
        image.draft(None, (2 * at_least, 2 * at_least))  # twice: `square` filters the rest
    image.load()
    image.info.update(info)
    return image


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise UsageError(f"cannot read {name}: it has no pixels ({width}x{height})")
    if width * height > MAX_PIXELS:
        raise UsageError(
            f"cannot read {name}: {width}x{height} pixels are more than the limit of "
            f"{MAX_PIXELS // 10**6} million; make it smaller first"
        )


def _size_ahead(kind: str, stream: BinaryIO) -> tuple[int, int]:
    """The size of the two formats of which Pillow takes note only after an alarm of its own."""
    if kind == "GIF":
        return _gif_size(stream)
    head = stream.read(30)
    if kind != "WEBP" or len(head) < 30:
        return 1, 1
    if head[12:16] == b"VP8X":
        return _little(head[24:27]) + 1, _little(head[27:30]) + 1
    if head[12:16] == b"VP8L":
        bits = _little(head[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return _little(head[26:28]) & 0x3FFF, _little(head[28:30]) & 0x3FFF


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _gif_size(stream: BinaryIO) -> tuple[int, int]:
    """The canvas of a GIF, which grows where its first frame reaches beyond (GIF89a, 18-20)."""
    head = stream.read(13)
    width, height, flags = struct.unpack("<HHB", head[6:11])
    stream.seek(3 << (flags & 7) + 1 if flags & 128 else 0, io.SEEK_CUR)  # the palette
    while (mark := stream.read(1)) not in (b"", b";"):
        if mark == b",":
            x, y, w, h = struct.unpack("<HHHH", stream.read(8))
            return max(width, x + w), max(height, y + h)
        if mark == b"!":
            stream.read(1)
            while length := stream.read(1):
                if length == b"\0":
                    break
                stream.seek(length[0], io.SEEK_CUR)
    return width, height
