"""Check pictures that come from strangers, before anything else reads them.

What the first bytes and the header show comes first: format, length, shape and number of pixels.
Then the picture is decoded once, so that a damaged one is found here. What is passed on of a PNG is
what it looks like: no texts, no further frames, nothing behind its end.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from ._formats import detected, opened, refusing
from ._metadata import TEXTS, without_metadata
from .images import least_alpha, upright_size
from .notes import notes_in

MAX_NOTE = 2**20
"""Most bytes of a colour profile or a text; a PNG is read without a longer one."""

MAX_CHUNKS = 100_000
"""Most chunks of a PNG."""

MAX_SCANS = 100
"""Most scans of a JPEG, each of which may go over all pixels; progressive ones have about ten."""

_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_NEEDED = (*_CRITICAL, b"tRNS")


@dataclass(frozen=True)
class Limits:
    """What may be uploaded.

    Args:
        formats: by Pillow's names.
        megabytes: a file has less.
        square: no other shape.
        pixels: most of them; 4096² take up to 96 MB to check. Of a WebP, of which the decoder
            holds four copies, a quarter.
    """

    formats: tuple[str, ...] = ("PNG",)
    megabytes: int = 4
    square: bool = False
    pixels: int = 4096 * 4096


@dataclass(frozen=True)
class Upload:
    """A picture that was found sound.

    Args:
        data: its file; a PNG without what does not change its looks.
        size: upright (width, height).
        alpha: of its most transparent pixel, 0 to 255; None without alpha channel.
    """

    data: bytes
    size: tuple[int, int]
    alpha: int | None


def check_upload(data: bytes, name: str, limits: Limits) -> Upload:
    """A picture within limits.

    Args:
        data: a file.
        name: what errors call it.

    Raises:
        UsageError: it is none, too large, or damaged.
    """
    kind = _kind(data, name, limits)
    with refusing(name, kind):
        data = _looks(kind, data)
        image, info = opened(kind, io.BytesIO(data), name)
        _check_shape(image.size, name, limits, kind)
        image.load()
        image.info.update(info)
    return Upload(data, upright_size(image), least_alpha(image, name))


def upload_notes(data: bytes) -> dict[str, str]:
    """What programs wrote in a picture that `check_upload` found sound: see `notes_of`.

    Texts that are longer than `MAX_NOTE`, packed or unpacked, are passed over.
    """
    kind = detected(data[:64]) or ""
    with refusing("the picture", kind):
        info = _png_info(data) if kind == "PNG" else _info(kind, data)
    short = {k: v for k, v in info.items() if isinstance(v, str | bytes) and len(v) <= MAX_NOTE}
    return notes_in(short)


def _info(kind: str, data: bytes) -> dict[Any, Any]:
    image, info = opened(kind, io.BytesIO(data), "the picture")
    return {**image.info, **info}


def _png_info(data: bytes) -> dict[Any, Any]:
    """Of its header and its texts alone."""
    short = data[:33] + b"".join(dict(_texts(data)).values())
    return {**without_metadata("PNG", io.BytesIO(short))[1]}


def _texts(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Of a PNG's texts, those that say how it was made: name, and chunk."""
    place, names = 8, (*map(str.encode, TEXTS), b"XML:com.adobe.xmp")
    while len(head := data[place : place + 8]) == 8:
        length, kind = struct.unpack(">I4s", head)
        end = place + 12 + length
        key, _, value = data[place + 8 : min(end - 4, place + 8 + MAX_NOTE)].partition(b"\0")
        if kind == b"iTXt" and key in names:
            packed, value = value[:1] == b"\1", value[2:].split(b"\0", 2)[-1]
            if not packed or _unpacks(value):
                yield key, data[place:end]
        elif key in names and (kind == b"tEXt" or (kind == b"zTXt" and _unpacks(value[1:]))):
            yield key, data[place:end]
        place = end


def _unpacks(data: bytes) -> bool:
    """Whether it is whole, and no bomb."""
    inflate = zlib.decompressobj()
    try:
        inflate.decompress(data, MAX_NOTE)
    except zlib.error:
        return False
    return inflate.eof


def _kind(data: bytes, name: str, limits: Limits) -> str:
    """The format. Raises UsageError for any but the allowed ones, and for a long file."""
    wanted = f"{name} must be a {_either(limits.formats)} of less than {limits.megabytes} MB"
    if len(data) >= limits.megabytes * 2**20:
        raise UsageError(f"{wanted}, got {len(data) / 2**20:.1f} MB")
    kind = detected(data[:64])
    if kind is None or kind not in limits.formats:
        got = kind or ("no picture" if data else "an empty file")
        raise UsageError(f"{wanted}, got {got}")
    return kind


def _either(names: tuple[str, ...]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _check_shape(size: tuple[int, int], name: str, limits: Limits, kind: str) -> None:
    (width, height), most = size, limits.pixels // (4 if kind == "WEBP" else 1)
    if limits.square and width != height:
        raise UsageError(f"{name} must be square, got {width}x{height}")
    if width * height > most:
        raise UsageError(
            f"{name} must have at most {most:,} pixels, got {width}x{height}, which is "
            f"{width * height:,}"
        )


def _looks(kind: str, data: bytes) -> bytes:
    """The file without what does not change its looks. Raises ValueError where it is damaged."""
    if kind == "PNG":
        return data[:8] + b"".join(_chunks(data))
    if kind == "JPEG":
        if data.count(b"\xff\xda") > MAX_SCANS:
            raise ValueError(f"more than {MAX_SCANS} scans")
        return without_metadata(kind, io.BytesIO(data))[0].read()
    return data


def _chunks(data: bytes) -> Iterator[bytes]:
    """Of a PNG, those that its looks depend on (PNG 3.0, 5). Raises ValueError if damaged."""
    place = 8
    for number in range(MAX_CHUNKS):
        head = data[place : place + 8]
        length, name = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"")
        end = place + 12 + length
        if end > len(data) or not name:
            raise ValueError("it is truncated")
        if (name == b"IHDR") != (number == 0):
            raise ValueError("its header is not where it belongs")
        if not name[0] & 32 and name not in _CRITICAL:
            raise ValueError(f"chunk {name!r} is not known")
        if name in _NEEDED or _is_kept(name, data[place + 8 : end - 4]):
            is_sound = zlib.crc32(data[place + 4 : end - 4]) == int.from_bytes(data[end - 4 : end])
            if not is_sound and name in _NEEDED:
                raise ValueError(f"wrong checksum of {name.decode()}")
            yield data[place:end] if is_sound else b""
        if name == b"IEND":
            return
        place = end
    raise ValueError(f"more than {MAX_CHUNKS:,} chunks")


def _is_kept(name: bytes, data: bytes) -> bool:
    """Whether a chunk that a picture can do without changes its looks, and is no bomb."""
    if name != b"iCCP":
        return name == b"eXIf" and len(data) <= 2**16
    return _unpacks(data.partition(b"\0")[2][1:])
