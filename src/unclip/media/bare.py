"""A file of this package without what it says of how it was made; its pixels are not touched.

That a trained model made it (IPTC's digital source type) stays. A signature goes, which would be
that of another file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .notes import mark_of, packet

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"caBX")
_EXIF_FLAG, _XMP_FLAG = 0x08, 0x04
"""Of a WebP's VP8X chunk."""


def without_record(data: bytes, kind: str) -> bytes:
    """The same picture, without prompt and settings.

    Args:
        data: a sound file.
        kind: PNG, JPEG or WEBP.
    """
    marked = marked_in(data)
    if kind == "PNG":
        return data[:8] + b"".join(_png(data))
    if kind == "JPEG":
        return b"".join(_jpeg(data, marked))
    return _webp(data, marked)


def marked_in(data: bytes) -> str:
    """The digital source type that this package wrote into a file's XMP; empty: none.

    Args:
        data: a sound PNG, JPEG or WebP.
    """
    if data.startswith(b"\x89PNG"):
        found = (_png_xmp(chunk[8:-4]) for name, chunk in _png_chunks(data) if name == b"iTXt")
    elif data.startswith(b"RIFF"):
        found = (value for name, value in _webp_chunks(data) if name == b"XMP ")
    else:
        found = (part[4:] for _, part in _segments(data) if part[4:].startswith(_XMP))
    marks = (mark_of(xmp.removeprefix(_XMP)) for xmp in found if xmp)
    return next(filter(None, marks), "")


def _png(data: bytes) -> Iterator[bytes]:
    for name, chunk in _png_chunks(data):
        is_mark = name == b"iTXt" and mark_of(_png_xmp(chunk[8:-4]))
        if name not in _TEXTS or is_mark:
            yield chunk


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names, and whole chunks."""
    place = 8
    while len(head := data[place : place + 8]) == 8:
        length, name = struct.unpack(">I4s", head)
        chunk = data[place : place + 12 + length]
        yield name, chunk
        place += len(chunk)


def _png_xmp(text: bytes) -> bytes:
    """The XMP of an international text as this package writes it (PNG 3.0, 11.3.3.4), or none."""
    key = b"XML:com.adobe.xmp" + bytes(5)  # not compressed, of no language, its name untranslated
    return text[len(key) :] if text.startswith(key) else b""


def _jpeg(data: bytes, marked: str) -> Iterator[bytes]:
    """Without EXIF, XMP (APP1) and C2PA (APP11), up to the first scan (T.81, B.1.1)."""
    yield data[:2]
    place, told = 2, not marked
    for marker, part in _segments(data):
        if marker != 0xE0 and not told:  # JFIF's own segment stands first
            content, told = _XMP + packet(None, marked), True
            yield b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
        if marker not in (0xE1, 0xEB):
            yield part
        place += len(part)
    yield data[place:]


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Markers, and whole segments, up to the first scan."""
    place = 2
    while data[place : place + 1] == b"\xff" and data[place + 1] != 0xDA:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4])
        yield marker, data[place : place + 2 + length]
        place += 2 + length


def _webp(data: bytes, marked: str) -> bytes:
    chunks = list(_webp_chunks(data))
    kept = [(name, value) for name, value in chunks if name not in (b"EXIF", b"XMP ", b"C2PA")]
    for index, (name, value) in enumerate(kept):
        if name == b"VP8X":
            flags = value[0] & ~(_EXIF_FLAG | _XMP_FLAG) | (_XMP_FLAG if marked else 0)
            kept[index] = name, bytes([flags]) + value[1:]
    if marked:  # whoever wrote the mark wrote VP8X too
        kept.append((b"XMP ", packet(None, marked)))
    body = b"".join(
        name + struct.pack("<I", len(value)) + value + bytes(len(value) % 2) for name, value in kept
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 12
    while len(head := data[place : place + 8]) == 8:
        name, length = struct.unpack("<4sI", head)
        yield name, data[place + 8 : place + 8 + length]
        place += 8 + length + length % 2
