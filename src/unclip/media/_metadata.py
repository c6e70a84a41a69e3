"""PNG and JPEG files parted into what their pixels need and what is only said about them.

Pillow refuses a whole picture for a comment that is longer than it likes, a broken checksum of a
profile, a resolution that is cut short. So it is given the file without such things, and what is
of use here (orientation, profile, record) is read from them as far as they are sound.
"""

from __future__ import annotations

import io
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Info = dict[str, str | bytes]
"""Metadata under the names that Pillow gives them in a picture's `info`."""

MAX_METADATA = 16 * 2**20
"""Bytes of a profile or a text; larger ones are as good as none."""

MAX_PARTS = 1_000_000
"""Chunks or segments of a file; a picture of 64 million pixels needs a tenth of that."""

_MAX_NOTES = 64  # that are unpacked, sound or not
_TEXTS = (b"unclip", b"XML:com.adobe.xmp", b"Raw profile type exif")
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_JPEG_ICC = b"ICC_PROFILE\0"

Stretch = tuple[int, int]  # of a file: from the first byte to before the second


def parted(kind: str, file: BinaryIO) -> tuple[BinaryIO, Info]:
    """A picture's file without its metadata, and these; other formats than the two as they are.

    The new file reads from `file`, which has to stay open.

    Args:
        kind: a format's name, as in `FORMATS`.
        file: can be read in any order.

    Raises:
        ValueError: it has more than `MAX_PARTS`.
    """
    part = _PARTED.get(kind)
    if part is None:
        return file, {}
    stretches: list[Stretch] = []
    info: Info = {}
    for number, (start, end) in enumerate(part(file, file.seek(0, io.SEEK_END), info)):
        if number == MAX_PARTS:
            raise ValueError(f"more than {MAX_PARTS:,} parts")
        if stretches and stretches[-1][1] == start:
            stretches[-1] = (stretches[-1][0], end)
        elif start < end:
            stretches.append((start, end))
    return cast(BinaryIO, io.BufferedReader(_Spliced(file, stretches))), info


class _Spliced(io.RawIOBase):
    """Stretches of a file, one after the other, as a file of their own."""

    def __init__(self, file: BinaryIO, stretches: list[Stretch]) -> None:
        self._file, self._stretches = file, stretches
        self._ends = list(accumulate(end - start for start, end in stretches))
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {0: 0, 1: self._at, 2: self._ends[-1]}[whence])
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        place = bisect_right(self._ends, self._at)
        if place == len(self._ends):
            return 0
        view, left = memoryview(buffer), self._ends[place] - self._at
        self._file.seek(self._stretches[place][1] - left)
        data = self._file.read(min(len(view), left))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def _png(file: BinaryIO, end: int, info: Info) -> Iterator[Stretch]:
    """Critical chunks and transparency, without which the pixels are others (PNG 3.0, 5.4).

    Of a chunk that is left out, an empty stretch.
    """
    yield 0, 8
    at, notes = 8, 0
    while at + 8 <= end:
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8))
        after = at + 12 + length
        ancillary = bool(name[0] & 32) and name != b"tRNS"
        if not name.isalpha() or (after > end and not ancillary):
            break
        yield at, at if ancillary else after
        if name in _PNG_NOTES and length <= MAX_METADATA and after <= end and notes < _MAX_NOTES:
            notes += _png_note(name, file.read(length), file.read(4), info)
        at = min(after, end)
        if name == b"IEND":
            break
    yield at, end  # whatever it is, Pillow's to judge


def _png_note(name: bytes, data: bytes, check: bytes, info: Info) -> bool:
    """Add what a chunk tells, if it is sound. False where it was not even of interest."""
    if zlib.crc32(name + data) != int.from_bytes(check):
        return False
    try:
        found = _PNG_NOTES[name](data)
    except (ValueError, zlib.error):
        return True
    info.update(found)
    return bool(found)


def _iccp(data: bytes) -> Info:
    return {"icc_profile": _inflated(data.partition(b"\0")[2][1:])}


def _exif(data: bytes) -> Info:
    return {"exif": b"Exif\0\0" + data}


def _text(data: bytes) -> Info:
    key, _, value = data.partition(b"\0")
    return {key.decode("latin-1"): value.decode("latin-1")} if key in _TEXTS else {}


def _ztxt(data: bytes) -> Info:
    key, _, value = data.partition(b"\0")
    return _text(key + b"\0" + _inflated(value[1:])) if key in _TEXTS else {}


def _itxt(data: bytes) -> Info:
    key, _, rest = data.partition(b"\0")
    if key not in _TEXTS:
        return {}
    packed, _, value = rest[:2], *rest[2:].split(b"\0", 2)[1:]
    text = _inflated(value) if packed[0] else value
    return {key.decode("latin-1"): text.decode("utf-8")}


def _inflated(data: bytes) -> bytes:
    """Raises ValueError where it is cut or longer than `MAX_METADATA`, zlib.error for rubbish."""
    inflate = zlib.decompressobj()
    text = inflate.decompress(data, MAX_METADATA)
    if not inflate.eof:
        raise ValueError("cut, or too long")
    return text


_PNG_NOTES: dict[bytes, Callable[[bytes], Info]] = {
    b"iCCP": _iccp,
    b"eXIf": _exif,
    b"tEXt": _text,
    b"zTXt": _ztxt,
    b"iTXt": _itxt,
}


def _jpeg(file: BinaryIO, end: int, info: Info) -> Iterator[Stretch]:
    """All but the application's segments and comments before the first scan (T.81, B.1.1)."""
    yield 0, 2
    at, profile = 2, list[bytes]()
    while True:
        file.seek(at)
        head = file.read(4)
        if head[:2] == b"\xff\xff":  # padding
            yield at, at
            at += 1
            continue
        if len(head) < 4 or head[0] != 255 or head[1] < 0xC0 or 0xD0 <= head[1] <= 0xDA:
            break
        after = at + 2 + max(2, int.from_bytes(head[2:]))
        data = file.read(after - at - 4) if head[1] >= 0xE0 else b""
        yield at, after if head[1] < 0xE0 or _tells_colours(head[1], data) else at
        _jpeg_note(head[1], data, info, profile)
        at = after
    yield at, end
    profile.sort()  # by number, then follows how many there are
    if profile and profile[0][1] == len(profile):
        info["icc_profile"] = b"".join(part[2:] for part in profile)


def _tells_colours(marker: int, data: bytes) -> bool:
    """Whether libjpeg takes the colour space from it, and it is as long as it has to be."""
    jfif = marker == 0xE0 and data.startswith(b"JFIF\0") and len(data) >= 14
    return jfif or (marker == 0xEE and data.startswith(b"Adobe") and len(data) >= 12)


def _jpeg_note(marker: int, data: bytes, info: Info, profile: list[bytes]) -> None:
    if marker == 0xE1 and data.startswith(b"Exif\0\0"):
        before = cast(bytes, info.get("exif", b""))
        if len(before) < MAX_METADATA:
            info["exif"] = before + data[6:] if before else data
    elif marker == 0xE1 and data.startswith(_JPEG_XMP):
        info["xmp"] = data.removeprefix(_JPEG_XMP)
    elif marker == 0xE2 and data.startswith(_JPEG_ICC) and len(data) >= 14:
        profile.append(data.removeprefix(_JPEG_ICC))


_PARTED = {"PNG": _png, "JPEG": _jpeg}
