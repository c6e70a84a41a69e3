"""Record and parameters come back from every format, whatever else a file holds."""

from __future__ import annotations

import io
import json
import struct
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unclip.errors import RecordWarning, UsageError
from unclip.media import read_notes
from unclip.media.notes import JPEG_SEGMENT, copy_notes, notes_of
from unclip.media.writing import encode, has_record_of, save
from unclip.parameters import Parameters
from unclip.record import Record

KINDS = ("PNG", "WEBP", "JPEG")
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
CODE = b"UNICODE\0"


def noted(record: str = "", parameters: str = "") -> Image.Image:
    picture = Image.new("RGB", (4, 4), "orange")
    picture.info |= {"unclip": record} if record else {}
    picture.info |= {"parameters": parameters} if parameters else {}
    return picture


def written(picture: Image.Image, kind: str) -> bytes:
    data = io.BytesIO()
    encode(picture, data, kind)
    return data.getvalue()


@pytest.mark.parametrize("kind", KINDS)
@given(prompt=TEXT, words=TEXT)
def test_both_texts_come_back_to_the_letter(kind: str, prompt: str, words: str) -> None:
    record = Record(prompt, 1, {}).to_json()
    parameters = f"Steps: 1, {words}".replace("\0", "")  # PNG's texts have no NUL
    notes = read_notes(written(noted(record, parameters), kind))
    assert Record.parse(notes["unclip"]) == Record(prompt, 1, {})
    assert notes["parameters"] == parameters


@pytest.mark.parametrize("kind", KINDS)
def test_other_programs_find_the_texts_where_theirs_are(kind: str) -> None:
    """As A1111's `read_info_from_image` does: a PNG's text, or EXIF's comment in UTF-16."""
    with Image.open(io.BytesIO(written(noted("{}", "狐狸\nSteps: 1"), kind))) as picture:
        if kind == "PNG":
            assert picture.info["parameters"] == "狐狸\nSteps: 1"
        else:
            comment = picture.getexif().get_ifd(0x8769)[0x9286]
            assert comment == CODE + "狐狸\nSteps: 1".encode("utf-16-be")
            assert b"<unclip:record>{}</unclip:record>" in picture.info["xmp"]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_a_path_bytes_a_file_and_a_pil_picture_are_read(suffix: str, tmp_path: Path) -> None:
    record = Record("a fox", 7, {"steps": 3})
    path = tmp_path / f"a{suffix}"
    save(noted(record.to_json(), "a fox\nSteps: 3, Seed: 7, CFG scale: 2"), path)
    with Image.open(path) as opened, path.open("rb") as file:
        for source in (path, str(path), path.read_bytes(), file, opened):
            assert Record.of(source) == record
            assert Parameters.of(source).seed == 7
    assert has_record_of(path, noted(record.to_json()))
    assert not has_record_of(path, noted(Record("a fox", 8, {"steps": 3}).to_json()))


def test_of_a_picture_nobody_wrote_in() -> None:
    plain = Image.new("RGB", (4, 4))
    assert notes_of(plain) == {}
    with pytest.raises(UsageError, match="the picture has no record"):
        Record.of(plain)
    with pytest.raises(UsageError, match="no parameters of a program known here"):
        Parameters.of(plain)


@pytest.mark.parametrize("name", ["unclip", "parameters"])
def test_what_does_not_fit_is_said_and_the_other_text_stays(name: str) -> None:
    long = json.dumps("x" * JPEG_SEGMENT)
    texts = {"unclip": "{}", "parameters": "Steps: 1"} | {name: long}
    picture = noted(texts["unclip"], texts["parameters"])
    with pytest.warns(RecordWarning, match=r"too long for a JPEG: .*\.png and \.webp can hold it"):
        data = written(picture, "JPEG")
    kept = {key: text for key, text in texts.items() if key != name}
    assert read_notes(data) == kept
    for kind in ("PNG", "WEBP"):
        assert read_notes(written(picture, kind)) == texts


def test_the_longest_record_of_a_jpeg_is_read_again() -> None:
    room = JPEG_SEGMENT - 29 - len(written(noted("{}"), "JPEG").partition(b"<?xpacket")[2])
    record = "{" + " " * room + "}"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        while not said:
            record, before = record + " ", record
            written(noted(record), "JPEG")
    assert len(before) > 64_000
    assert read_notes(written(noted(before), "JPEG")) == {"unclip": before}


def jpeg(exif: bytes = b"", xmp: bytes = b"") -> bytes:
    data = io.BytesIO()
    more = {"exif": exif} if exif else {}
    Image.new("RGB", (4, 4)).save(data, "JPEG", xmp=xmp, **more)
    return data.getvalue()


XMP = '<x xmlns:u="urn:unclip:">{}</x>'


@pytest.mark.parametrize(
    ("xmp", "record"),
    [
        ('<x xmlns:u="urn:unclip:" u:record="{&quot;a&quot;: 1}"/>', '{"a": 1}'),  # as an attribute
        (XMP.format("<u:record>\n {} </u:record>"), "\n {} "),  # laid out by another program
        ('<x xmlns:other="urn:unclip:"><other:record>{}</other:record></x>', "{}"),
        (XMP.format("<u:other/>"), None),
        ("<x>urn:other</x>", None),
        (XMP.format("<u:record>{}"), ""),
        ('<!DOCTYPE x [<!ENTITY a "aa">]>' + XMP.format("<u:record>&a;</u:record>"), ""),
        (XMP.format("<u:record>{}</u:record>\x01"), ""),
        ("<?xml version='1.0' encoding='none'?>" + XMP.format("<u:record/>"), ""),
        ("<a>" * 100_000 + XMP.format(""), ""),
    ],
)
def test_a_record_in_xmp(xmp: str, record: str | None) -> None:
    packet = xmp.encode()
    picture = Image.new("RGB", (4, 4))
    picture.info["xmp"] = packet
    assert notes_of(picture).get("unclip") == record
    if len(packet) < JPEG_SEGMENT - 29:
        assert read_notes(jpeg(xmp=packet)).get("unclip") == record
    if record == "":
        with pytest.raises(UsageError, match="the picture's record is damaged"):
            Record.of(picture)


def exif(order: str, comment: bytes, first: tuple[int, bytes] | None = None) -> bytes:
    """EXIF as TIFF 6.0 and EXIF 2.32 say, written apart from the code."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    count = 1 + (first is not None)
    end = 8 + 2 + 12 * count + 4
    ascii_ = b"" if first is None else first[1]
    at = end + len(ascii_)
    entries = b"" if first is None else struct.pack(order + "HHII", first[0], 2, len(ascii_), end)
    entries += struct.pack(order + "HHII", 0x8769, 4, 1, at)
    inner = struct.pack(order + "HHHIII", 1, 0x9286, 7, len(comment), at + 18, 0)
    return (
        b"Exif\0\0"
        + head
        + struct.pack(order + "H", count)
        + entries
        + b"\0" * 4
        + ascii_
        + inner
        + comment
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("comment", "text"),
    [
        (CODE + "狐狸\nSteps: 1".encode("utf-16-be"), "狐狸\nSteps: 1"),  # piexif, A1111
        (CODE + "狐狸\nSteps: 1".encode("utf-16-le"), "狐狸\nSteps: 1"),  # exiftool, Civitai
        (CODE + "\ufeffSteps: 1".encode("utf-16-le"), "Steps: 1"),
        (b"ASCII\0\0\0Steps: 1", "Steps: 1"),
        (b"\0" * 8 + "狐 Steps: 1".encode(), "狐 Steps: 1"),
        (CODE + "Steps: 1".encode("utf-16-be") + b"\0", "Steps: 1\ufffd"),
        (b"UNI", None),
        (b"", None),
    ],
)
def test_comments_in_any_code(order: str, comment: bytes, text: str | None) -> None:
    assert read_notes(jpeg(exif(order, comment))).get("parameters") == text


@pytest.mark.parametrize("order", ["<", ">"])
def test_texts_in_the_ascii_tags_of_exif(order: str) -> None:
    data = exif(order, b"", (0x0110, b'prompt:{"1": {}}\0'))
    assert read_notes(jpeg(data)) == {"prompt": '{"1": {}}'}
    assert read_notes(jpeg(exif(order, b"", (0x0110, b"Nikon: D90\0")))) == {}


@given(st.binary(max_size=80), st.integers(0, 70))
def test_no_exif_spoils_a_picture(rubbish: bytes, at: int) -> None:
    sound = exif("<", CODE + "Steps: 1".encode("utf-16-be"))
    picture = Image.new("RGB", (4, 4))
    for data in (rubbish, b"Exif\0\0II*\0" + rubbish, sound[:at] + rubbish, sound[:at]):
        picture.info["exif"] = data
        assert set(notes_of(picture)) <= {"parameters"}


def test_a_directory_that_leads_to_itself_ends() -> None:
    picture = Image.new("RGB", (4, 4))
    loop = b"II*\0" + struct.pack("<IH", 8, 65535) + struct.pack("<HHII", 0x8769, 4, 1, 8) * 65535
    picture.info["exif"] = loop
    assert notes_of(picture) == {}


def test_a_copy_has_the_texts_alone() -> None:
    source, target = noted("{}", "Steps: 1"), Image.new("RGB", (4, 4))
    source.info["exif"] = b"anything"
    copy_notes(source, target)
    assert target.info == {"unclip": "{}", "parameters": "Steps: 1"}
