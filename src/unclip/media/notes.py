"""What programs write in a picture about how it was made: texts by name.

A PNG has a text chunk for each. JPEG and WebP have one comment in EXIF (`UserComment`), where
Stable Diffusion web UI has `parameters`, and XMP, where our record is a property of its own.
ComfyUI writes `NAME:TEXT` in EXIF's ASCII tags. Nothing here raises for what a file holds.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..errors import RecordWarning, warn
from ._metadata import MAX_METADATA, TEXTS

RECORD, PARAMETERS = "unclip", "parameters"

GENERATED = "generated"
"""In a picture's `info`: its digital source type, which its file then names as IPTC does."""

TRAINED, COMPOSITE = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"
"""A trained model made all of it, or a part of it."""

DIGITAL_SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
"""What IPTC's names of digital source types (Photo Metadata Standard 2023.1) begin with."""

JPEG_SEGMENT = 65_533
"""Most bytes of a JPEG's metadata in one segment (T.81, B.1.1.4)."""

_SPACE = "urn:unclip:"  # XMP's names of properties begin with an address
_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    f'<rdf:Description rdf:about="" xmlns:unclip="{_SPACE}"{{}}>'
    "{}</rdf:Description></rdf:RDF></x:xmpmeta>"
    '<?xpacket end="w"?>'
)
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_GENERATED = f' xmlns:Iptc4xmpExt="{_IPTC}" Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCES}{{}}"'
_EXIF_PLACE, _COMMENT = 0x8769, 0x9286
_ASCII = (0x010E, 0x010F, 0x0110)  # description, make, model
_MAX_TAGS = 1000


def mark_of(xmp: bytes) -> str:
    """The name of the digital source type that this package wrote into XMP; empty: none."""
    reader = _read_xmp(xmp)
    name = reader.source.removeprefix(DIGITAL_SOURCES) if reader else ""
    return name if name in (TRAINED, COMPOSITE) else ""


def notes_of(picture: Image.Image) -> dict[str, str]:
    """The texts of `TEXTS` that a picture carries, opened by Pillow or by this package."""
    return notes_in(picture.info)


def notes_in(info: Mapping[Any, Any]) -> dict[str, str]:
    """As `notes_of`, of what Pillow calls a picture's `info`."""
    notes = dict(_exif_notes(info.get("exif")))
    xmp = info.get("xmp", info.get("XML:com.adobe.xmp"))
    record = _xmp_record(xmp.encode() if isinstance(xmp, str) else xmp)
    if record is not None:
        notes[RECORD] = record
    return notes | {name: str(info[name]) for name in TEXTS if isinstance(info.get(name), str)}


def copy_notes(source: Image.Image, target: Image.Image) -> None:
    """Give a picture the record and the parameters of another."""
    for name in (RECORD, PARAMETERS):
        if name in source.info:
            target.info[name] = source.info[name]


def save_options(picture: Image.Image, kind: str) -> dict[str, Any]:
    """What Pillow's `save` is given so that a picture keeps record and parameters.

    Args:
        kind: PNG, JPEG or WEBP.

    Warns:
        RecordWarning: one of them does not fit, and is left out.
    """
    notes = {name: picture.info.get(name) for name in (RECORD, PARAMETERS)}
    kept = {name: text for name, text in notes.items() if isinstance(text, str)}
    generated = picture.info.get(GENERATED) or ""
    if kind == "PNG":
        chunks = _chunks(_fitting({n: text.encode() for n, text in kept.items()}, kind))
        if generated:
            chunks.add_itxt("XML:com.adobe.xmp", packet(None, generated).decode())
        return {"pnginfo": chunks}
    write: dict[str, tuple[str, Callable[[str], bytes]]] = {
        RECORD: ("xmp", lambda text: packet(text, generated)),
        PARAMETERS: ("exif", _exif),
    }
    data = _fitting({name: write[name][1](text) for name, text in kept.items()}, kind)
    options: dict[str, Any] = {write[name][0]: packed for name, packed in data.items()}
    return {"xmp": packet(None, generated), **options} if generated else options


def record_bytes(record: str, kind: str) -> bytes:
    """A record as a file of this kind holds it."""
    return b"unclip\0\0\0\0\0" + record.encode() if kind == "PNG" else packet(record)


def _fitting(data: Mapping[str, bytes], kind: str) -> dict[str, bytes]:
    """Those that a file of this kind can hold, or that can be read again."""
    most = JPEG_SEGMENT - len(b"http://ns.adobe.com/xap/1.0/\0") if kind == "JPEG" else MAX_METADATA
    for name, value in data.items():
        if len(value) > most:
            what = "record" if name == RECORD else "text for other programs ('parameters')"
            better = "; .png and .webp can hold it" if len(value) <= MAX_METADATA else ""
            text = f"the picture is saved without its {what}, which is too long for a {kind}"
            warn(f"{text}: {len(value):,} bytes, at most {most:,}{better}", RecordWarning)
    return {name: value for name, value in data.items() if len(value) <= most}


def _chunks(data: Mapping[str, bytes]) -> PngInfo:
    chunks = PngInfo()
    if RECORD in data:
        chunks.add_itxt(RECORD, data[RECORD].decode())
    if PARAMETERS in data:  # Latin-1 where that is enough, as other programs have it
        chunks.add_text(PARAMETERS, data[PARAMETERS].decode())
    return chunks


def packet(record: str | None, generated: str = "") -> bytes:
    """XMP (ISO 16684-1, 7.3) with the record; two letters that XML has not are escaped as JSON.

    Args:
        generated: the name of a digital source type.
    """
    inner = ""
    if record is not None:
        plain = re.sub("[\ufffe\uffff]", lambda found: f"\\u{ord(found[0]):04x}", record)
        inner = f"<unclip:record>{escape(plain)}</unclip:record>"
    return _PACKET.format(_GENERATED.format(generated) if generated else "", inner).encode()


def _xmp_record(xmp: object) -> str | None:
    """The record in XMP; empty where it is damaged, None where there is none."""
    if not isinstance(xmp, bytes) or len(xmp) > MAX_METADATA or _SPACE.encode() not in xmp:
        return None
    reader = _read_xmp(xmp)
    return "" if reader is None else reader.found


def _read_xmp(xmp: bytes) -> _XmpReader | None:
    """What is in it; None where it is damaged."""
    reader = _XmpReader()
    try:
        reader.read(xmp)
    except (expat.ExpatError, ValueError, LookupError):
        return None
    return reader


class _XmpReader:
    """Reads the record, an element or an attribute, and the source type. Entities are refused."""

    def __init__(self) -> None:
        self.found: str | None = None
        self.source = ""
        self._inside: list[str] | None = None

    def read(self, xmp: bytes) -> None:
        """Raises ExpatError or ValueError where it is damaged."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = self._text, self._refuse
        parser.Parse(xmp, True)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == f"{_SPACE} record":
            self._inside = []
        self.found = attributes.get(f"{_SPACE} record", self.found)
        self.source = attributes.get(f"{_IPTC} DigitalSourceType", self.source)

    def _text(self, text: str) -> None:
        if self._inside is not None:
            self._inside.append(text)

    def _end(self, name: str) -> None:
        if name == f"{_SPACE} record" and self._inside is not None:
            self.found, self._inside = "".join(self._inside), None

    def _refuse(self, *_: object) -> None:
        raise ValueError("it declares a document type")


def _exif(comment: str) -> bytes:
    """EXIF with nothing but a `UserComment` (EXIF 2.32, 4.6.5 C), in UTF-16 as others write it."""
    value = b"UNICODE\0" + comment.encode("utf-16-be", "replace")
    first = struct.pack(">HHHIII", 1, _EXIF_PLACE, 4, 1, 26, 0)  # at 8; the tags of EXIF are at 26
    second = struct.pack(">HHHIII", 1, _COMMENT, 7, len(value), 44, 0)
    return b"Exif\0\0MM\0\x2a" + struct.pack(">I", 8) + first + second + value


def _exif_notes(data: object) -> Iterator[tuple[str, str]]:
    """`parameters` of the comment; of ASCII tags those that begin with a known name and a colon."""
    if not isinstance(data, bytes) or len(data) > MAX_METADATA:
        return
    data = data.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 8:
        return
    first = dict(_tags(data, order, int(*struct.unpack_from(f"{order}I", data, 4))))
    for tag in _ASCII:
        name, colon, text = first.get(tag, b"").decode(errors="replace").partition(":")
        if colon and name in TEXTS:
            yield name, text.rstrip("\0")
    place = first.get(_EXIF_PLACE, b"")
    if len(place) == 4:
        inner = dict(_tags(data, order, int(*struct.unpack(f"{order}I", place))))
        if text := _comment(inner.get(_COMMENT, b"")):
            yield PARAMETERS, text


def _tags(data: bytes, order: str, at: int) -> Iterator[tuple[int, bytes]]:
    """The bytes of a directory's tags that are needed (TIFF 6.0, 2); none past the end."""
    if at + 2 > len(data):
        return
    (count,) = struct.unpack_from(f"{order}H", data, at)
    for place in range(at + 2, min(at + 2 + 12 * min(count, _MAX_TAGS), len(data) - 11), 12):
        tag, kind, length = struct.unpack_from(f"{order}HHI", data, place)
        size = {1: 1, 2: 1, 4: 4, 7: 1}.get(kind, 0) * length
        if tag in (_EXIF_PLACE, _COMMENT, *_ASCII):
            start = (
                place + 8 if size <= 4 else int(*struct.unpack_from(f"{order}I", data, place + 8))
            )
            yield tag, data[start : start + size]


def _comment(value: bytes) -> str:
    """A comment's text, by the code before it; damaged letters are replaced."""
    code, text = value[:8], value[8:]
    if code != b"UNICODE\0":
        return text.decode("utf-8", "replace").strip("\0 ")
    # always high byte first where piexif wrote it, else in the file's order
    big, little = text.decode("utf-16-be", "replace"), text.decode("utf-16-le", "replace")
    swapped = text.startswith(b"\xff\xfe") or ("Steps:" in little and "Steps:" not in big)
    return (little if swapped else big).strip("\ufeff\0")
