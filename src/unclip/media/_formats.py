"""The supported picture formats, and the checks before a picture is decoded."""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
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

Source = str | Path | bytes | BinaryIO | Image.Image | NDArray[np.uint8]
"""A path, bytes, an open binary file (read from its start), a PIL picture, or an array of uint8:
(H, W, 3) RGB, (H, W, 4) RGBA or (H, W) gray."""

ORIENTATION = 0x0112
"""The orientation tag of EXIF and TIFF."""

MAX_PIXELS = 64_000_000
"""Largest number of pixels that is decoded."""

MAX_BYTES = 256 * 2**20
"""Most bytes that are read from a pipe."""


# Pillow raises these for damaged files; warnings only if they are turned into errors.
DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, AttributeError),
    *(ArithmeticError, RuntimeError, MemoryError, struct.error, zlib.error),
    *(Image.DecompressionBombError, Warning),
)


class _Tiff(TiffImagePlugin.TiffImageFile):
    """A TIFF whose tags are ignored unless its pixels need them."""

    def _setup(self) -> None:
        for tag in (TiffImagePlugin.X_RESOLUTION, TiffImagePlugin.Y_RESOLUTION):
            if tag in self.tag_v2:
                del self.tag_v2[tag]
        super()._setup()

    def getexif(self) -> Image.Exif:
        """Only the orientation."""
        if self._exif is None:
            self._exif = Image.Exif()
            with suppress(*DAMAGE):
                self._exif[ORIENTATION] = self.tag_v2[ORIENTATION]
        return self._exif


class _Format(NamedTuple):
    """Pillow's class for a format. Image.open would warn about decompression bombs, which no
    thread can suppress for itself, and would try unsupported formats such as EPS.
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
"""Supported formats; WEBP and AVIF only if Pillow was built with them."""

SUFFIXES = tuple(suffix for kind in FORMATS for suffix in _READ[kind].suffixes)
"""Suffixes of these formats in lower case; the format itself is detected from the content."""

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


def decode(source: Source, name: str, at_least: tuple[int, int] | None = None) -> Image.Image:
    """The first frame of a picture as stored, with its metadata in `info`.

    Args:
        source: see `Source`.
        name: its name in errors.
        at_least: see `read_image`.

    Raises:
        UsageError: see `read_image`.
    """
    with refusing(name):
        if isinstance(source, Image.Image):
            if getattr(source, "format", None) == "EPS" and getattr(source, "tile", None):
                raise _not_read("EPS", name)  # loading it would run Ghostscript
            _check_size(source.size, name)
            source.load()
            return source
        if hasattr(source, "dtype"):
            return _of_array(source, name)
        with _stream(source, name) as stream:
            kind = _kind_of(stream.read(64), name)
            with refusing(name, kind):
                return _decode(kind, stream, name, at_least)


def _of_array(array: Any, name: str) -> Image.Image:
    """Of numpy or another library. Raises UsageError where it is not as `Source` says."""
    shape = tuple(array.shape)
    if not str(array.dtype).endswith("uint8") or not (
        len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))
    ):
        kind = str(array.dtype).removeprefix("torch.")
        raise UsageError(
            f"cannot read {name}: it is an array of {kind} and shape {shape}; give one of uint8 "
            "(0 to 255) and shape (height, width, 3), a PIL picture or a path"
        )
    _check_size((shape[1], shape[0]), name)
    return Image.fromarray(np.array(array.cpu().numpy() if hasattr(array, "cpu") else array))


@contextmanager
def refusing(name: str, kind: str | None = None) -> Iterator[None]:
    """Turn Pillow's errors about damaged files into a UsageError with the name."""
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
def _stream(source: Any, name: str) -> Iterator[BinaryIO]:
    """The content of `source` as a seekable stream at its start."""
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
    """The stream at its start; a pipe is read into memory."""
    if not hasattr(stream, "read"):
        raise UsageError(
            f"cannot read a picture from a {type(stream).__name__}; give a path, bytes, a file, a "
            "PIL picture or an array of uint8"
        )
    if getattr(stream, "seekable", bool)():
        stream.seek(0)
        return stream
    data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UsageError(f"cannot read {name}: it is longer than {MAX_BYTES // 2**20} MB")
    return io.BytesIO(data)


def detected(head: bytes) -> str | None:
    """The format that the first 64 bytes of a file show, also one that is not read here."""
    kinds = (kind for kind, magic in _MAGIC.items() if re.match(magic, head, re.DOTALL))
    return next(kinds, None)


def _kind_of(head: bytes, name: str) -> str:
    """The format that the first bytes show. Raises UsageError if it is not supported."""
    if not head:
        raise UsageError(f"cannot read {name}: it is empty")
    kind = detected(head)
    if kind is None:
        raise UsageError(f"cannot read {name}: it is not a picture ({', '.join(FORMATS)})")
    if kind not in FORMATS:
        raise _not_read(kind, name)
    return kind


def _not_read(kind: str, name: str) -> UsageError:
    return UsageError(
        f"cannot read {name}: format {kind} is not supported; save it as one of "
        f"{', '.join(FORMATS)}"
    )


def _decode(
    kind: str, stream: BinaryIO, name: str, at_least: tuple[int, int] | None
) -> Image.Image:
    """The first frame, decoded. A header with too many pixels is rejected before that."""
    image, info = opened(kind, stream, name)
    if at_least is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
        least = 2 * max(at_least)  # `fit_image` filters the rest; it may have to be turned yet
        image.draft(None, (least, least))
    image.load()
    image.info.update(info)
    return image


def opened(
    kind: str, stream: BinaryIO, name: str
) -> tuple[ImageFile.ImageFile, dict[str, str | bytes]]:
    """A picture of which only the header is read, and its metadata (see `without_metadata`).

    Raises UsageError for a header with too many pixels, and what Pillow raises (see `refusing`).
    """
    stream.seek(0)
    _check_size(_size_ahead(kind, stream), name)
    stream.seek(0)
    file, info = without_metadata(kind, stream)
    image = _READ[kind].reader(file)
    _check_size(image.size, name)
    if kind == "TIFF":  # libtiff allocates a whole tile even for a small picture
        tags = cast(TiffImagePlugin.TiffImageFile, image).tag_v2
        _check_size((tags.get(322, 1), tags.get(323, 1)), name)
    return image, info


@contextmanager
def header_of(source: Source, name: str) -> Iterator[Image.Image]:
    """Yield a picture's header alone, within which its file is open. Raises as `decode`."""
    with _stream(source, name) as stream:
        kind = _kind_of(stream.read(64), name)
        with refusing(name, kind):
            yield opened(kind, stream, name)[0]


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
    """The size, for the two formats that Pillow checks only after its own warning."""
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
    """The canvas of a GIF, extended to its first frame (GIF89a, 18-20)."""
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
