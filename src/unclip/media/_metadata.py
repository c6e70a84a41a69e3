"""Strip metadata from PNG and JPEG files before Pillow reads them.

Pillow rejects a whole picture for a long comment, a wrong checksum of a profile or a truncated
resolution. So it gets the file without them. The metadata that is needed (orientation, profile,
record) is read here as far as it is valid.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

Info = dict[str, str | bytes]
"""Metadata with the names of Pillow's `info`."""

MAX_FILE = 2**29
"""Most bytes to keep: 64 million pixels of 16 bits in four channels, uncompressed."""

MAX_METADATA = 16 * 2**20
"""Largest profile or text in bytes; larger ones are ignored."""

MAX_PARTS = 1_000_000
"""Most chunks or segments of a file; 64 million pixels need a tenth of that."""

_MAX_NOTES = 64  # decompressed even if unused
TEXTS = ("unclip", "parameters", "prompt", "workflow", "Comment")
"""Names of the texts in which programs say how a picture was made: our own, A1111's, ComfyUI's
two, NovelAI's."""
_TEXTS = (*map(str.encode, TEXTS), b"XML:com.adobe.xmp", b"Raw profile type exif")


def without_metadata(kind: str, file: BinaryIO) -> tuple[BinaryIO, Info]:
    """A picture's file without its metadata, and the metadata that Pillow might fail to read.

    Args:
        kind: the name of the format; files other than PNG and JPEG are returned unchanged.
        file: at its start.

    Raises:
        ValueError: it has more than `MAX_PARTS`, or more than `MAX_FILE` bytes of needed parts.
    """
    parts = {"PNG": _png, "JPEG": _jpeg}.get(kind)
    if parts is None:
        return file, {}
    kept, info = io.BytesIO(), Info()
    for number, part in enumerate(parts(file, info)):
        if number == MAX_PARTS:
            raise ValueError(f"more than {MAX_PARTS:,} parts")
        if kept.tell() + len(part) > MAX_FILE:
            raise ValueError(f"more than {MAX_FILE // 2**20} MB")
        kept.write(part)
    kept.seek(0)
    return kept, info


def _png(file: BinaryIO, info: Info) -> Iterator[bytes]:
    """Critical chunks and transparency, which affect the pixels (PNG 3.0, 5.4)."""
    yield file.read(8)
    notes = 0
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if not name.isalpha() or not name[0] & 32 or name == b"tRNS":
            yield head + file.read(min(length + 4, MAX_FILE))
        elif length > MAX_METADATA or notes == _MAX_NOTES:
            file.seek(length + 4, io.SEEK_CUR)
            yield b""
        else:
            data, check = file.read(length), file.read(4)
            if zlib.crc32(name + data) == int.from_bytes(check):
                notes += _add_note(name, data, info)
            yield b""
        if name == b"IEND":
            return
    yield head


def _add_note(name: bytes, data: bytes, info: Info) -> bool:
    """Add the metadata of a chunk; False if it has none that is needed."""
    try:
        found = _png_note(name, data)
    except (ValueError, IndexError, zlib.error):
        return True
    info.update(found)
    return bool(found)


def _png_note(name: bytes, data: bytes) -> Info:
    """The needed metadata of a chunk (PNG 3.0, 11.3); may be empty."""
    key, _, value = data.partition(b"\0")
    if name == b"eXIf":
        return {"exif": b"Exif\0\0" + data}
    if name == b"iCCP":
        return {"icc_profile": _inflated(value[1:])}
    if name not in (b"tEXt", b"zTXt", b"iTXt") or key not in _TEXTS:
        return {}
    if name == b"iTXt":
        packed, value = value[0], value[2:].split(b"\0", 2)[2]
        return {key.decode(): (_inflated(value) if packed else value).decode()}
    return {key.decode(): (_inflated(value[1:]) if name == b"zTXt" else value).decode("latin-1")}


def _inflated(data: bytes) -> bytes:
    """Raises ValueError if truncated or longer than `MAX_METADATA`, zlib.error if invalid."""
    inflate = zlib.decompressobj()
    text = inflate.decompress(data, MAX_METADATA)
    if not inflate.eof:
        raise ValueError("truncated or too long")
    return text


_JPEG_NOTES = {  # with the least length that Pillow reads without an error
    (0xE0, b"JFIF\0"): 14,
    (0xE1, b"Exif\0\0"): 6,
    (0xE1, b"http://ns.adobe.com/xap/1.0/\0"): 29,
    (0xE2, b"ICC_PROFILE\0"): 14,
    (0xEE, b"Adobe"): 12,
}


def _jpeg(file: BinaryIO, _: Info) -> Iterator[bytes]:
    """Everything except invalid or unneeded metadata before the first scan (T.81, B.1.1)."""
    yield file.read(2)
    said = 0
    while True:
        head = file.read(2)
        if head == b"\xff\xff":  # padding
            file.seek(-1, io.SEEK_CUR)
            yield b""
            continue
        marker = head[1] if len(head) == 2 and head[0] == 255 else 0
        if marker < 0xC0 or 0xD0 <= marker <= 0xDA:
            yield head + file.read(MAX_FILE)
            return
        size = file.read(2)
        data = file.read(max(0, int.from_bytes(size) - 2))
        if marker < 0xE0:
            yield head + size + data
        elif said <= MAX_METADATA and _is_sound(marker, data):
            said += len(data)
            yield head + size + data
        else:
            yield b""


def _is_sound(marker: int, data: bytes) -> bool:
    """Whether a segment is needed and long enough."""
    return any(
        marker == kind and data.startswith(start) and len(data) >= least
        for (kind, start), least in _JPEG_NOTES.items()
    )
