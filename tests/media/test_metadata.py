"""What the pixels do not need never decides whether a picture is read."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from unclip.errors import UsageError
from unclip.media import _metadata, read_image, read_image_and_record, read_rgba
from unclip.media._formats import DAMAGE

ANCILLARY = (
    *(b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"sBIT"),
    *(b"bKGD", b"hIST", b"tIME", b"sPLT", b"cICP", b"acTL", b"fcTL", b"fdAT", b"prVt"),
)
HUGE = zlib.compress(bytes(2_000_000))  # Pillow's limit for one text is 1 MB
PIXELS = np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)


def saved(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind, **options)
    return buffer.getvalue()


def same(data: bytes) -> bool:
    return bool((np.asarray(read_image(data)) == PIXELS).all())


def chunk(name: bytes, data: bytes, check: int | None = None) -> bytes:
    crc = zlib.crc32(name + data) if check is None else check
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)


def with_chunks(*chunks: bytes, late: bool = False) -> bytes:
    """A sound PNG with more chunks, before its pixels or `late`, after them."""
    data = saved("PNG")
    at = data.index(b"IEND" if late else b"IDAT") - 4
    return data[:at] + b"".join(chunks) + data[at:]


def segment(marker: int, data: bytes) -> bytes:
    return bytes([255, marker]) + struct.pack(">H", len(data) + 2) + data


def with_segments(*segments: bytes) -> bytes:
    """A sound JPEG with more segments after its first."""
    data = saved("JPEG")
    at = 4 + struct.unpack(">H", data[4:6])[0]
    return data[:at] + b"".join(segments) + data[at:]


def hostile_chunks() -> Iterator[bytes]:
    for name in ANCILLARY:
        yield chunk(name, b"")
        yield chunk(name, b"\0")
        yield chunk(name, b"key\0\1\0\0\0" + HUGE)
        yield chunk(name, b"sound enough\0\0", check=1)
    yield chunk(b"zTXt", b"Comment\0\0" + HUGE)
    yield chunk(b"zTXt", b"Comment\0\7rubbish")
    yield chunk(b"iTXt", b"Comment\0\1\0\0\0" + HUGE)
    yield chunk(b"iCCP", b"ICC\0\0" + HUGE)
    yield chunk(b"iCCP", b"ICC\0\1" + HUGE)
    yield chunk(b"iCCP", b"ICC\0\0rubbish")
    yield chunk(b"tEXt", b"Raw profile type exif\0\n\nrubbish")
    yield b"".join([chunk(b"zTXt", b"C\0\0" + zlib.compress(bytes(10**6)))] * 68)  # 64 MiB in all


def refused_by_pillow(kind: type, data: bytes) -> bool:
    try:
        kind(io.BytesIO(data)).load()
    except DAMAGE:
        return True
    return False


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_no_chunk_beside_the_pixels_spoils_a_png(late: bool) -> None:
    files = [with_chunks(one, late=late) for one in hostile_chunks()]
    assert all(same(data) for data in files)
    hard = [refused_by_pillow(PngImagePlugin.PngImageFile, data) for data in files]
    assert sum(hard) >= (10 if late else 25)  # else the test would prove nothing


@given(st.sampled_from(ANCILLARY), st.binary(max_size=60), st.booleans(), st.booleans())
def test_random_chunks_do_not_spoil_a_png(
    name: bytes, data: bytes, late: bool, sound: bool
) -> None:
    assert same(with_chunks(chunk(name, data, None if sound else 7), late=late))


def test_a_comment_that_is_cut_off_after_the_pixels() -> None:
    data = with_chunks(chunk(b"tEXt", b"Comment\0" + b"x" * 100), late=True)
    assert same(data[: data.index(b"Comment") + 20])


def test_critical_chunks_keep_their_checks() -> None:
    data = bytearray(saved("PNG"))
    data[data.index(b"IHDR") + 20] ^= 1
    with pytest.raises(ValueError, match="bad header checksum"):
        read_image(bytes(data))


def test_of_an_animated_png_with_broken_frames_the_picture() -> None:
    buffer = io.BytesIO()
    frames = [Image.fromarray(PIXELS), Image.new("RGB", (13, 9))]
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    data = bytearray(buffer.getvalue())
    data[data.index(b"fcTL") + 4] = 99  # out of sequence
    assert same(bytes(data))


def test_pixels_in_many_pieces_with_comments_between() -> None:
    """The reader of stretches has to join what lies apart; a PNG's data may be cut anywhere."""
    data = saved("PNG")
    at = data.index(b"IDAT")
    (length,) = struct.unpack(">I", data[at - 4 : at])
    body = data[at + 4 : at + 4 + length]
    pieces = [chunk(b"IDAT", body[n : n + 7]) for n in range(0, length, 7)]
    comment = chunk(b"tEXt", b"a\0b")
    assert same(data[: at - 4] + comment.join(pieces) + data[at + 8 + length :])


def record(name: bytes = b"iTXt", text: bytes = b'{"a": "\xc3\xa9"}') -> bytes:
    bodies = {
        b"iTXt": b"unclip\0\0\0\0\0" + text,
        b"tEXt": b"unclip\0" + text,
        b"zTXt": b"unclip\0\0" + zlib.compress(text),
    }
    return chunk(name, bodies[name])


@pytest.mark.parametrize("late", [False, True])
def test_the_record_is_read_beside_huge_texts(late: bool) -> None:
    chunks = list(hostile_chunks())
    image, text = read_image_and_record(with_chunks(*chunks, record(), *chunks, late=late))
    assert text == '{"a": "é"}'
    assert (np.asarray(image) == PIXELS).all()
    packed = chunk(b"iTXt", b"unclip\0\1\0\0\0" + zlib.compress(b"{}"))
    assert read_image_and_record(with_chunks(packed, late=late))[1] == "{}"
    for name in (b"tEXt", b"zTXt"):  # as other programs write it anew
        assert read_image_and_record(with_chunks(record(name, b"{}"), late=late))[1] == "{}"


def test_a_damaged_record_is_none() -> None:
    for bad in (
        chunk(b"iTXt", b"unclip\0\0\0\0\0{}", check=3),
        chunk(b"iTXt", b"unclip"),
        chunk(b"iTXt", b"unclip\0\0\0\0\0\xff"),
        chunk(b"iTXt", b"unclip\0\1\0\0\0rubbish"),
        chunk(b"iTXt", b"unclip\0\1\0\0\0" + zlib.compress(bytes(20 * 2**20))),
    ):
        assert read_image_and_record(with_chunks(bad))[1] is None


def test_a_large_profile_is_used() -> None:
    """Profiles of printers and scanners are longer than Pillow's megabyte."""
    plain = swapped_profile()
    padded = plain + bytes(1_500_000)
    padded = struct.pack(">I", len(padded)) + padded[4:]
    data = with_chunks(chunk(b"iCCP", b"ICC\0\0" + zlib.compress(padded)))
    small = with_chunks(chunk(b"iCCP", b"ICC\0\0" + zlib.compress(plain)))
    assert np.abs(np.asarray(read_image(data)).astype(int) - PIXELS).max() > 50
    assert (np.asarray(read_image(data)) == np.asarray(read_image(small))).all()


def swapped_profile() -> bytes:
    """sRGB with red and green exchanged."""
    from PIL import ImageCms

    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for start in range(132, 132 + 12 * struct.unpack(">I", data[128:132])[0], 12):
        name = bytes(data[start : start + 4])
        data[start : start + 4] = {b"rXYZ": b"gXYZ", b"gXYZ": b"rXYZ"}.get(name, name)
        if name == b"desc":  # or it would be taken for sRGB
            at = struct.unpack(">I", data[start + 4 : start + 8])[0]
            size = struct.unpack(">I", data[start + 8 : start + 12])[0]
            data[at : at + size] = bytes(data[at : at + size]).replace(b"s\0R\0G\0B", b"x\0R\0G\0B")
    return bytes(data)


def test_orientation_comes_from_wherever_it_stands() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = PIXELS[::-1, ::-1]
    raw = exif.tobytes().removeprefix(b"Exif\0\0")
    text = f"\nexif\n{len(raw):8}\n{(b'Exif' + bytes(2) + raw).hex()}\n".encode()
    xmp = b'<x tiff:Orientation="3"/>'
    for one in (
        chunk(b"eXIf", raw),
        chunk(b"tEXt", b"Raw profile type exif\0" + text),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
    ):
        for late in (False, True):
            assert (np.asarray(read_image(with_chunks(one, late=late))) == turned).all()


def jpeg_pixels(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(read_image(data))


KNOWN = (b"JFIF\0", b"Exif\0\0", b"ICC_PROFILE\0", b"Photoshop 3.0\x008BIM\4\4", b"Adobe", b"MPF\0")


@pytest.mark.filterwarnings("error")
def test_no_segment_beside_the_pixels_spoils_a_jpeg() -> None:
    whole = jpeg_pixels(saved("JPEG"))
    bodies = [start + bytes([n] * n) for start in (b"", *KNOWN) for n in (0, 1, 2, 9, 200)]
    files = [
        with_segments(segment(marker, body))
        for marker in (*range(0xE0, 0xF0), 0xFE)
        for body in bodies
        if not (body.startswith(b"Adobe") and len(body) > 12)  # which tells the colours
    ]
    for data in files:
        assert (jpeg_pixels(data) == whole).all()
    assert sum(refused_by_pillow(JpegImagePlugin.JpegImageFile, data) for data in files) >= 3


def test_a_jpeg_s_metadata_are_still_used() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    whole = jpeg_pixels(saved("JPEG"))
    assert (jpeg_pixels(saved("JPEG", exif=exif)) == whole[::-1, ::-1]).all()
    xmp = segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="3"/>')
    assert (jpeg_pixels(with_segments(xmp)) == whole[::-1, ::-1]).all()
    profile = swapped_profile() + bytes(100_000)  # in two segments
    profile = struct.pack(">I", len(profile)) + profile[4:]
    parts = [profile[:60_000], profile[60_000:]]
    segments = [segment(0xE2, b"ICC_PROFILE\0" + bytes([n + 1, 2]) + parts[n]) for n in (0, 1)]
    changed = jpeg_pixels(with_segments(*segments))
    assert np.abs(changed.astype(int) - whole).max() > 50
    assert (jpeg_pixels(with_segments(*segments[::-1])) == changed).all()
    assert (jpeg_pixels(with_segments(segments[0])) == whole).all()  # half of a profile


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"keep_rgb": True}])
def test_a_jpeg_s_colours_are_those_that_pillow_reads(mode: str, options: dict[str, bool]) -> None:
    """JFIF and Adobe segments say how colours are stored: they have to reach the decoder."""
    if options.get("keep_rgb") and mode != "RGB":
        return
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(buffer, "JPEG", quality=95, **options)
    expected = JpegImagePlugin.JpegImageFile(io.BytesIO(buffer.getvalue())).convert("RGB")
    assert (jpeg_pixels(buffer.getvalue()) == np.asarray(expected)).all()


def test_adobe_s_and_jfif_s_word_on_colours_reaches_the_decoder() -> None:
    """Both against what libjpeg would take the colours for without them."""
    data = saved("JPEG")
    after = 4 + struct.unpack(">H", data[4:6])[0]
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")  # no transform: the numbers are RGB
    named = bytearray(data)
    frame, scan = data.index(b"\xff\xc0") + 10, data.index(b"\xff\xda") + 5
    for n, letter in enumerate(b"RGB"):
        named[frame + 3 * n] = named[scan + 2 * n] = letter
    plain = jpeg_pixels(data)
    as_rgb = JpegImagePlugin.JpegImageFile(io.BytesIO(data[:2] + adobe + data[after:]))
    assert (jpeg_pixels(data[:2] + adobe + data[after:]) == np.asarray(as_rgb)).all()
    assert np.abs(np.asarray(as_rgb).astype(int) - plain).max() > 50
    assert (jpeg_pixels(bytes(named)) == plain).all()
    assert (jpeg_pixels(bytes(named[:2] + named[after:])) == np.asarray(as_rgb)).all()


def test_a_resolution_that_is_no_number_does_not_spoil_a_tiff() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[TiffImagePlugin.RESOLUTION_UNIT] = 3
    tags.tagtype[TiffImagePlugin.X_RESOLUTION] = tags.tagtype[TiffImagePlugin.Y_RESOLUTION] = 2
    tags[TiffImagePlugin.X_RESOLUTION] = tags[TiffImagePlugin.Y_RESOLUTION] = "many"
    data = saved("TIFF", tiffinfo=tags)
    assert refused_by_pillow(TiffImagePlugin.TiffImageFile, data)
    assert same(data)


def test_a_file_of_millions_of_parts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_metadata, "MAX_PARTS", 1000)
    assert same(with_chunks(*[chunk(b"prVt", b"")] * 900))
    for data in (with_chunks(*[chunk(b"prVt", b"")] * 1100), b"\xff\xd8" + b"\xff" * 2000):
        with pytest.raises(UsageError, match=r"damaged or unusual .more than 1,000 parts"):
            read_image(data)


def test_a_file_of_more_than_its_pixels_can_need_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for kind in ("PNG", "JPEG"):
        data = saved(kind)
        assert read_image(data).size == (13, 9)
        with monkeypatch.context() as patch:
            patch.setattr(_metadata, "MAX_FILE", len(data) - 50)
            with pytest.raises(UsageError, match=r"damaged or unusual .more than 0 MB"):
                read_image(data)


def test_only_so_much_metadata_of_a_jpeg_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow joins such segments one by one: thousands of them would take it minutes."""
    monkeypatch.setattr(_metadata, "MAX_METADATA", 1000)
    data = with_segments(*[segment(0xE1, b"Exif\0\0" + bytes(300))] * 20)
    kept, _ = _metadata.without_metadata("JPEG", io.BytesIO(data))
    assert kept.read().count(b"Exif") == 4
    assert (jpeg_pixels(data) == jpeg_pixels(saved("JPEG"))).all()


def test_only_so_many_texts_are_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 KB unpack to 16 MB: a file could hold thousands."""
    bomb = chunk(b"zTXt", b"unclip\0\0" + HUGE[:-4])
    unpacked: list[int] = []
    inflated = _metadata._inflated

    def counted(data: bytes) -> bytes:
        unpacked.append(len(data))
        return inflated(data)

    monkeypatch.setattr(_metadata, "_inflated", counted)
    assert same(with_chunks(*[bomb] * 200))
    assert len(unpacked) == 64


def test_transparency_is_read_with_the_colours() -> None:
    rgba = np.random.default_rng(1).integers(0, 256, (9, 13, 4), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG")
    assert (np.asarray(read_rgba(buffer.getvalue())) == rgba).all()
    assert (np.asarray(read_rgba(saved("PNG")))[..., 3] == 255).all()
