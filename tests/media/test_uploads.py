"""Pictures from strangers: what is refused, before how much work, and what is passed on."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from unclip.errors import UsageError
from unclip.media import Limits, check_upload, read_image, read_image_and_mask, upload_notes
from unclip.media.uploads import MAX_CHUNKS
from unclip.media.writing import encode

PNG = Limits(square=True)
ANY = Limits(("PNG", "JPEG", "WEBP"))
FOX = Image.fromarray(np.arange(16 * 16 * 4, dtype=np.uint16).reshape(16, 16, 4).astype(np.uint8))

PALETTE = Image.new("P", (4, 4), 1)
PALETTE.putpalette([0, 0, 0, 9, 9, 9])


def file_of(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", len(data), name) + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunk(data: bytes, name: bytes, content: bytes) -> bytes:
    """A PNG with one more chunk, after its header."""
    return data[:33] + chunk(name, content) + data[33:]


def png_header(width: int, height: int, kind: int = 6) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)


def names_in(data: bytes) -> list[bytes]:
    place, found = 8, []
    while place < len(data):
        length, name = struct.unpack(">I4s", data[place : place + 8])
        found.append(name)
        place += 12 + length
    return found


def refused(data: bytes, limits: Limits = PNG) -> str:
    with pytest.raises(UsageError) as error:
        check_upload(data, "the image", limits)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("mode", ["RGBA", "RGB", "LA", "L", "P", "1", "I;16"])
def test_a_sound_png_is_passed_on_with_the_same_pixels(mode: str) -> None:
    picture = FOX.convert("L").convert(mode) if mode == "I;16" else FOX.convert(mode)
    data = file_of(picture)
    upload = check_upload(data, "the image", PNG)
    assert upload.size == (16, 16)
    assert read_image(upload.data).tobytes() == read_image(data).tobytes()


@pytest.mark.parametrize(
    ("picture", "options", "alpha"),
    [
        (FOX, {}, 3),
        (FOX.convert("RGB"), {}, None),
        (Image.new("LA", (4, 4), (9, 77)), {}, 77),
        (PALETTE, {"transparency": 1}, 0),
        (PALETTE, {"transparency": 0}, 255),
        (Image.new("RGB", (4, 4), (1, 2, 3)), {"transparency": (1, 2, 3)}, 0),
    ],
)
def test_the_most_transparent_pixel_is_told(
    picture: Image.Image, options: dict[str, Any], alpha: int | None
) -> None:
    assert check_upload(file_of(picture, **options), "the image", PNG).alpha == alpha


def test_a_transparent_colour_of_16_bits_is_found() -> None:
    rows = b"".join(b"\0" + struct.pack(">4H", 7, 7, 9, 9) for _ in range(4))
    header = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 0, 0, 0, 0))
    parts = (b"tRNS", struct.pack(">H", 7)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    data = header + b"".join(chunk(*one) for one in parts)
    assert check_upload(data, "the image", PNG).alpha == 0
    assert read_image_and_mask(check_upload(data, "the image", PNG).data)[1].getbbox() == (
        *(0, 0),
        *(2, 4),
    )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "must be a PNG of less than 4 MB, got an empty file"),
        (b"hello", "must be a PNG of less than 4 MB, got no picture"),
        (file_of(FOX.convert("RGB"), "JPEG"), "must be a PNG of less than 4 MB, got JPEG"),
        (file_of(FOX, "WEBP"), "got WEBP"),
        (file_of(FOX, "GIF"), "got GIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", "got SVG"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * (4 * 2**20), "got 4.0 MB"),
        (file_of(FOX.resize((16, 8))), "must be square, got 16x8"),
        (file_of(FOX)[:-1], "truncated"),
        (file_of(FOX)[:60], "truncated"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (png_header(1, 1) + chunk(b"IEND", b""), "damaged"),
        (png_header(4, 4) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b""), "dama"),
        (png_header(4, 4) + png_header(9, 9)[8:] + file_of(FOX)[33:], "header"),
        (png_header(0, 0) + file_of(FOX)[33:], "no pixels"),
        (png_header(30000, 30000) + file_of(FOX)[33:], "pixels are more than the limit"),
        (png_header(5000, 5000) + file_of(FOX)[33:], "at most 16,777,216 pixels, got 5000x5000"),
        (with_chunk(file_of(FOX), b"ABCD", b""), "b'ABCD' is not known"),
    ],
)
def test_what_is_no_sound_png_is_refused(data: bytes, why: str) -> None:
    assert why in refused(data)


def test_a_wrong_checksum_is_refused() -> None:
    data = bytearray(file_of(FOX))
    data[50] ^= 1
    assert "wrong checksum of IDAT" in refused(bytes(data))


def test_a_profile_with_a_wrong_checksum_is_left_out() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    data = bytearray(file_of(FOX, icc_profile=profile))
    data[60] ^= 1
    upload = check_upload(bytes(data), "the image", PNG)
    assert set(names_in(upload.data)) == {b"IHDR", b"IDAT", b"IEND"}


def test_a_wrong_checksum_of_the_transparency_is_refused() -> None:
    data = bytearray(file_of(PALETTE, transparency=1))
    data[data.index(b"tRNS") + 4] ^= 1
    assert "wrong checksum of tRNS" in refused(bytes(data))


def test_a_file_of_one_byte_below_the_limit_is_read() -> None:
    data = file_of(FOX)
    filler = 4 * 2**20 - 1 - len(data)
    assert len(check_upload(data + b"\0" * filler, "the image", PNG).data) == len(data)
    assert "4.0 MB" in refused(data + b"\0" * (filler + 1))


def test_further_frames_texts_and_what_follows_the_end_are_not_passed_on() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", "<script>alert(1)</script>")
    texts.add_text("unclip", "{}", zip=True)
    frames = [Image.new("RGBA", (16, 16), "red")]
    data = file_of(FOX, pnginfo=texts, save_all=True, append_images=frames)
    kept = check_upload(data + b"<html><script>alert(2)</script>", "the image", PNG).data
    assert b"acTL" in data and b"script" in data
    assert set(names_in(kept)) == {b"IHDR", b"IDAT", b"IEND"}
    assert read_image(kept).tobytes() == read_image(file_of(FOX)).tobytes()


def test_a_colour_profile_and_an_orientation_are_kept() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    data = file_of(FOX.resize((16, 8)), icc_profile=profile, exif=exif)
    upload = check_upload(data, "the image", ANY)
    assert {b"iCCP", b"eXIf"} < set(names_in(upload.data))
    assert upload.size == (8, 16)
    assert read_image(upload.data).tobytes() == read_image(data).tobytes()


@pytest.mark.parametrize("name", [b"zTXt", b"iCCP"])
def test_a_bomb_in_a_text_or_a_profile_is_not_unpacked(name: bytes) -> None:
    bomb = zlib.compress(b"\0" * 100_000_000, 9)
    data = file_of(FOX)
    for key in (b"Comment", b"parameters", b"prompt", b"workflow"):
        data = with_chunk(data, name, key + b"\0\0" + bomb)
    tracemalloc.start()
    upload = check_upload(data, "the image", PNG)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000
    assert name not in names_in(upload.data)


def test_many_empty_chunks_are_refused() -> None:
    many = chunk(b"tEXt", b"") * (MAX_CHUNKS + 1)
    assert "more than 100,000 chunks" in refused(file_of(FOX)[:33] + many + file_of(FOX)[33:])


def test_jpeg_and_webp_are_read_where_they_are_allowed() -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    photo = file_of(FOX.convert("RGB").resize((16, 8)), "JPEG", exif=exif)
    upload = check_upload(photo, "the image", ANY)
    assert upload.size == read_image(photo).size == read_image(upload.data).size == (8, 16)
    assert check_upload(photo, "the image", ANY).alpha is None
    assert check_upload(file_of(FOX, "WEBP", lossless=True), "the image", ANY).alpha == 3
    assert "PNG, JPEG or WEBP" in refused(file_of(FOX, "GIF"), ANY)


@pytest.mark.parametrize(
    ("kind", "side"), [("PNG", 4096), ("JPEG", 4096), ("WEBP", 2048), ("WEBP", 4096), ("PNG", 7900)]
)
def test_a_small_file_of_many_pixels_takes_less_than_100_mb(kind: str, side: int) -> None:
    mode = "RGB" if kind == "JPEG" else "P" if kind == "PNG" else "RGBA"
    data = file_of(Image.new(mode, (side, side)), kind)
    code = (
        "import resource, sys\n"
        "from unclip.media import Limits, check_upload\n"
        "def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "data, before = sys.stdin.buffer.read(), most()\n"
        f"try: check_upload(data, 'the image', Limits({ANY.formats}))\n"
        "except ValueError: print('refused')\n"
        "print((most() - before) // (2**20 if sys.platform == 'darwin' else 1024))\n"
    )
    told = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    *refusal, megabytes = told.stdout.split()
    assert (refusal == [b"refused"]) == (side * side > ANY.pixels or (kind, side) == ("WEBP", 4096))
    assert int(megabytes) < (2 if refusal else 100)


def test_a_truncated_jpeg_and_one_of_endless_scans_are_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    photo = file_of(Image.fromarray(noise), "JPEG", progressive=True)
    check_upload(photo, "the image", ANY)
    assert "damaged" in refused(photo[: len(photo) // 2], ANY)
    assert "more than 100 scans" in refused(photo + b"\xff\xda" * 101, ANY)


@given(st.data())
def test_a_damaged_file_is_sound_or_one_line(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP"]))
    file = bytearray(file_of(FOX.convert("RGB"), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        upload = check_upload(bytes(file), "the image", ANY)
    except UsageError:
        refused(bytes(file), ANY)
    else:
        read_image(upload.data)


TEXTS = {"unclip": '{"prompt": "狐"}', "parameters": "a fox\nSteps: 3, Seed: 7"}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_what_programs_wrote_is_read_of_the_upload_and_not_kept(kind: str) -> None:
    picture = FOX.convert("RGB")
    picture.info = dict(TEXTS)
    data = io.BytesIO()
    encode(picture, data, kind)
    assert upload_notes(data.getvalue()) == TEXTS
    if kind == "PNG":
        assert upload_notes(check_upload(data.getvalue(), "it", ANY).data) == {}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"tEXt", b"parameters\0a fox"),
        (b"zTXt", b"parameters\0\0" + zlib.compress(b"a fox")),
        (b"iTXt", b"parameters\0\0\0\0\0a fox"),
        (b"iTXt", b"parameters\0\1\0en\0x\0" + zlib.compress(b"a fox")),
    ],
)
def test_texts_of_every_kind_are_read(name: bytes, content: bytes) -> None:
    assert upload_notes(with_chunk(file_of(FOX), name, content)) == {"parameters": "a fox"}


BOMB = zlib.compress(bytes(200_000_000), 9)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"zTXt", b"parameters\0\0" + BOMB),
        (b"iTXt", b"unclip\0\1\0\0\0" + BOMB),
        (b"iTXt", b"unclip"),
        (b"iTXt", b"unclip\0\1"),
        (b"zTXt", b"unclip\0"),
        (b"tEXt", b"unclip\0" + bytes(2**20 + 1)),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<!DOCTYPE a><a/>"),
    ],
)
def test_a_bomb_or_a_damaged_text_is_passed_over(name: bytes, content: bytes) -> None:
    data = with_chunk(with_chunk(file_of(FOX), name, content), b"tEXt", b"Comment\0{}")
    tracemalloc.start()
    try:
        assert upload_notes(data) == {"Comment": "{}"}
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=200), st.sampled_from([b"tEXt", b"zTXt", b"iTXt"]), st.booleans())
def test_no_text_of_a_sound_file_raises(content: bytes, name: bytes, known: bool) -> None:
    upload_notes(with_chunk(file_of(FOX), name, (b"unclip\0" if known else b"") + content))
