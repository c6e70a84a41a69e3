"""Whatever a person hands in is read as it looks, or refused in one line that names it."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from unclip import media
from unclip.errors import UsageError
from unclip.media import (
    FORMATS,
    MAX_PIXELS,
    _formats,
    fit_image,
    read_image,
    read_image_and_mask,
)

LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True}, "BMP": {}, "TIFF": {}, "PPM": {}}
LOSSY = ("JPEG", "AVIF", "GIF")


def noise(width: int = 13, height: int = 9, bands: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    shape = (height, width, bands) if bands > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(image: Image.Image) -> NDArray[np.int64]:
    return np.asarray(image).astype(np.int64)


def on_white(rgba: NDArray[np.uint8]) -> NDArray[np.float64]:
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(size: tuple[int, int], bits: int, colour: int, raw: bytes, extra: bytes = b"") -> bytes:
    """A PNG by hand. `colour`: 0 gray, 2 RGB, 3 palette, 4 gray and alpha, 6 RGBA."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + extra + body


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_lossless_file_is_read_to_the_pixel(kind: str) -> None:
    image = read_image(saved(Image.fromarray(noise()), kind, **LOSSLESS[kind]))
    assert image.mode == "RGB"
    assert (pixels(image) == noise()).all()


@pytest.mark.parametrize("kind", LOSSY)
def test_a_lossy_file_is_read_nearly(kind: str) -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    picture = np.stack([np.tile(ramp, (64, 1))] * 3, -1)
    image = read_image(saved(Image.fromarray(picture), kind))
    assert np.abs(pixels(image) - picture).max() <= 6


def test_every_format_is_tested() -> None:
    assert {*LOSSLESS, *LOSSY} == set(FORMATS)


def test_a_picture_may_come_as_path_text_bytes_file_pipe_or_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(noise()).save(path)
    with path.open("rb") as file, Image.open(path) as opened:
        file.read()  # a server has already measured it
        sources = [path, str(path), path.read_bytes(), file, opened, Image.fromarray(noise())]
        assert all((pixels(read_image(source)) == noise()).all() for source in sources)
    read, write = os.pipe()
    with open(read, "rb") as pipe, open(write, "wb") as end:
        end.write(path.read_bytes())
        end.close()
        assert (pixels(read_image(pipe)) == noise()).all()


def test_what_is_read_is_a_copy_without_metadata() -> None:
    source = Image.fromarray(noise())
    source.info["unclip"] = "record"
    image = read_image(source)
    image.putpixel((0, 0), (1, 2, 3))
    assert image.info == {}
    assert (pixels(source) == noise()).all()
    assert source.info == {"unclip": "record"}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_every_exif_orientation(orientation: int, kind: str) -> None:
    picture = Image.fromarray(noise())
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(picture, kind, exif=exif, **LOSSLESS[kind])
    with Image.open(io.BytesIO(data)) as opened:
        expected = ImageOps.exif_transpose(opened)
    image = read_image(data)
    assert image.size == ((9, 13) if orientation > 4 else (13, 9))
    assert (pixels(image) == pixels(expected)).all()
    flips = {1: noise(), 3: noise()[::-1, ::-1], 6: np.rot90(noise(), -1), 8: np.rot90(noise())}
    assert (pixels(image) == flips.get(orientation, pixels(image))).all()


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\0"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_do_not_spoil_a_picture(exif: bytes) -> None:
    assert read_image(saved(Image.fromarray(noise()), "JPEG", exif=exif)).size == (13, 9)


def test_a_picture_in_memory_is_turned_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    opened = Image.open(io.BytesIO(saved(Image.fromarray(noise()), "PNG", exif=exif)))
    assert (pixels(read_image(opened)) == np.rot90(noise(), -1)).all()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_goes_on_white(kind: str) -> None:
    rgba = noise(bands=4)
    options = {"exact": True} if kind == "WEBP" else {}
    data = saved(Image.fromarray(rgba), kind, **LOSSLESS[kind], **options)
    assert np.abs(pixels(read_image(data)) - on_white(rgba)).max() <= 1


def test_gray_with_alpha_goes_on_white() -> None:
    la = noise(bands=2)
    image = read_image(Image.merge("LA", [Image.fromarray(la[..., n]) for n in (0, 1)]))
    assert np.abs(pixels(image) - on_white(la[..., [0, 0, 0, 1]])).max() <= 1


def test_a_palette_with_transparency() -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    several = saved(image, "PNG", transparency=bytes([255, 0, 128]))
    expected = on_white(np.array([[[255, 0, 0, 255], [0, 255, 0, 0], [0, 0, 255, 128]]], np.uint8))
    assert np.abs(pixels(read_image(several)) - expected).max() <= 1
    one = saved(image, "GIF", transparency=1)
    assert pixels(read_image(one)).tolist() == [[[255, 0, 0], [255] * 3, [0, 0, 255]]]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(
            png((2, 1), 8, 2, b"\0\1\2\3\4\5\6", chunk(b"tRNS", b"\0\1\0\2\0\3")),
            [[255, 255, 255], [4, 5, 6]],
            id="8-bit-rgb",
        ),
        pytest.param(
            png(
                (2, 1), 16, 2, b"\0" + b"\x12\x34" * 3 + b"\x56\0" * 3, chunk(b"tRNS", b"\x124" * 3)
            ),
            [[255, 255, 255], [0x56] * 3],
            id="16-bit-rgb",
        ),
        pytest.param(
            png((3, 1), 16, 0, b"\0\x12\x34\x12\x35\xff\xff", chunk(b"tRNS", b"\x12\x34")),
            [[255, 255, 255], [0x12] * 3, [255] * 3],
            id="16-bit-gray",
        ),
        pytest.param(
            png((2, 1), 1, 0, b"\0\x40", chunk(b"tRNS", b"\0\0")),
            [[255, 255, 255], [255, 255, 255]],
            id="1-bit",
        ),
    ],
)
def test_one_transparent_colour(data: bytes, expected: list[list[int]]) -> None:
    assert pixels(read_image(data))[0].tolist() == expected


def test_cmyk_has_its_inks_removed_from_white() -> None:
    inks = noise(bands=4)
    image = read_image(saved(Image.fromarray(inks, "CMYK"), "TIFF"))
    expected = (255 - inks[..., :3].astype(float)) * (255 - inks[..., 3:]) / 255
    assert np.abs(pixels(image) - expected).max() <= 1
    photograph = saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    assert np.abs(pixels(read_image(photograph)) - [255, 0, 0]).max() <= 2


SIXTEEN = np.array([[0, 255, 256, 0x1234, 0x8000, 0xFFFF]], np.uint16)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(png((6, 1), 16, 0, b"\0" + SIXTEEN.astype(">u2").tobytes()), id="png"),
        pytest.param(b"P5 6 1 65535\n" + SIXTEEN.astype(">u2").tobytes(), id="pgm"),
        pytest.param(saved(Image.fromarray(SIXTEEN), "TIFF"), id="tiff"),
        pytest.param(saved(Image.fromarray(SIXTEEN.astype(np.int32)), "TIFF"), id="tiff-32"),
        pytest.param(
            png((6, 1), 16, 2, b"\0" + np.repeat(SIXTEEN, 3).astype(">u2").tobytes()), id="rgb"
        ),
    ],
)
def test_sixteen_bits_lose_their_lower_half(data: bytes) -> None:
    image = pixels(read_image(data))
    assert (image == (SIXTEEN >> 8)[..., None]).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 0.5, 200]], np.float32), [0, 0, 200]),
        (np.array([[0, 7, 255]], np.int32), [0, 7, 255]),
        (np.array([[0, 7, 256]], np.int32), [0, 0, 1]),
    ],
)
def test_numbers_without_a_depth_are_scaled_by_what_they_fit(
    values: NDArray[np.generic], expected: list[int]
) -> None:
    assert pixels(read_image(Image.fromarray(values)))[0, :, 0].tolist() == expected
    assert pixels(read_image(saved(Image.fromarray(values), "TIFF")))[0, :, 0].tolist() == expected


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.1, 256.0, -1, 65536])
def test_numbers_that_are_no_brightness_are_refused(bad: float) -> None:
    kind = np.int32 if isinstance(bad, int) else np.float32
    with pytest.raises(UsageError, match=r"^cannot read the picture: its values"):
        read_image(Image.fromarray(np.array([[0, bad]], kind)))


@pytest.mark.parametrize("mode", ["1", "L", "P", "PA", "RGBX", "RGBa", "YCbCr", "HSV", "LAB"])
def test_every_other_mode_becomes_rgb(mode: str) -> None:
    assert read_image(Image.new(mode, (3, 2))).mode == "RGB"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_of_an_animation_the_first_frame(kind: str) -> None:
    red, blue = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    data = saved(red, kind, save_all=True, append_images=[blue])
    assert np.abs(pixels(read_image(data)) - [255, 0, 0]).max() <= 2


def profile(kind: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(kind)).tobytes()  # type: ignore[arg-type]


def gamma_profile(space: bytes, gamma: float) -> bytes:
    """An ICC profile (v2) of the sRGB primaries, or gray, with another gamma."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(gamma * 256), 0)
    white = (0.9642, 1.0, 0.8249)
    tags = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + b"\0" * 79}
    tags |= {b"wtpt": xyz(*white)}
    if space == b"GRAY":
        tags |= {b"kTRC": curve}
    else:
        tags |= {b"rXYZ": xyz(0.4361, 0.2225, 0.0139), b"gXYZ": xyz(0.3851, 0.7169, 0.0971)}
        tags |= {b"bXYZ": xyz(0.1431, 0.0606, 0.7141)}
        tags |= {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        value += b"\0" * (-len(value) % 4)
        table += name + struct.pack(">II", at + len(body), len(value))
        body += value
    head = b"\0" * 4 + b"\2\x40\0\0" + b"mntr" + space + b"XYZ " + b"\0" * 12 + b"acsp"
    head = head.ljust(64, b"\0") + b"".join(struct.pack(">i", round(v * 65536)) for v in white)
    head = head.ljust(124, b"\0")
    whole = head + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(whole) + 4) + whole


def srgb_of_linear(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("space", [b"RGB ", b"GRAY"])
def test_another_profile_is_converted_to_srgb(space: bytes, alpha: bool) -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    image = Image.fromarray(ramp)
    if space == b"RGB ":
        image = image.convert("RGB")
    if alpha:
        image.putalpha(255)
    data = saved(image, "PNG", icc_profile=gamma_profile(space, 1.8))
    expected = 255 * srgb_of_linear((ramp / 255) ** 1.8)
    result = read_image(data)
    assert np.abs(pixels(result) - expected[..., None]).max() <= 1
    assert "icc_profile" not in result.info


@pytest.mark.parametrize(
    "icc", [b"rubbish", b"", gamma_profile(b"GRAY", 1.0), gamma_profile(b"RGB ", 1.0)[:300]]
)
def test_a_profile_that_does_not_fit_is_ignored(icc: bytes) -> None:
    data = saved(Image.fromarray(noise()), "PNG", icc_profile=icc)
    assert (pixels(read_image(data)) == noise()).all()


def test_srgb_stays_to_the_bit() -> None:
    data = saved(Image.fromarray(noise()), "PNG", icc_profile=profile("sRGB"))
    assert (pixels(read_image(data)) == noise()).all()


def test_a_large_photograph_is_decoded_small_where_little_is_needed() -> None:
    ramp = np.linspace(0, 255, 1600).astype(np.uint8)
    data = saved(Image.fromarray(np.tile(ramp, (1200, 1))), "JPEG", quality=95)
    assert read_image(data).size == (1600, 1200)
    assert read_image(data, at_least=(600, 600)).size == (1600, 1200)
    small = read_image(data, at_least=(150, 100))
    assert small.size == (400, 300)
    whole = fit_image(read_image(data), (150, 100))
    assert np.abs(pixels(fit_image(small, (150, 100))) - pixels(whole)).max() <= 2


BOMB = """
import resource, sys
from unclip.errors import UsageError
from unclip.media import read_image
read_image(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_image(sys.argv[2])
except UsageError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """30,000 x 30,000 pixels in 110 kB, which Pillow would make 900 MB of."""
    squeeze = zlib.compressobj(1)
    rows = b"".join(squeeze.compress(bytes(100 * 3751)) for _ in range(300)) + squeeze.flush()
    good, bomb = tmp_path / "good.png", tmp_path / "bomb.png"
    good.write_bytes(png((9, 9), 1, 0, bytes(9 * 3)))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 1, 0, 0, 0, 0))
    body = chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    bomb.write_bytes(b"\x89PNG\r\n\x1a\n" + head + body)
    assert bomb.stat().st_size < 1_000_000
    command = [sys.executable, "-W", "error", "-c", BOMB, str(good), str(bomb)]
    source = str(Path(media.__file__).parents[2])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": source},
    )
    message, grown = done.stdout.splitlines()
    assert message == (
        f"cannot read {bomb}: 30000x30000 pixels are more than the limit of 64 million; "
        "make it smaller first"
    )
    assert int(grown) < 100
    assert done.stderr == ""


def larger(data: bytes, at: int, format: str, *sides: int) -> bytes:
    """`data` with other sides in its header."""
    new = struct.pack(format, *sides)
    return data[:at] + new + data[at + len(new) :]


def bombs(side: int) -> dict[str, bytes]:
    """Small files of every format that say they are `side` x `side`."""
    tiny = Image.new("RGB", (8, 8), "red")
    gif, bmp, tiff = (saved(tiny, kind) for kind in ("GIF", "BMP", "TIFF"))
    jpeg, lossless = saved(tiny, "JPEG"), saved(tiny, "WEBP", lossless=True)
    lossy, extended = saved(tiny, "WEBP"), saved(tiny, "WEBP", exif=b"Exif\0\0" + b"x" * 20)
    avif, frame = saved(tiny, "AVIF"), gif.index(b",", 13 + (3 << (gif[10] & 7) + 1))
    wide = struct.pack("<I", side - 1)[:3]
    files = {
        "png": png((side, side), 8, 0, b""),
        "ppm": b"P6 %d %d 255\n" % (side, side),
        "bmp": larger(bmp, 18, "<ii", side, side),
        "tiff": tiff.replace(
            struct.pack("<HHII", 256, 4, 1, 8), struct.pack("<HHII", 256, 4, 1, side)
        ).replace(struct.pack("<HHII", 257, 4, 1, 8), struct.pack("<HHII", 257, 4, 1, side)),
        "gif": larger(gif, 6, "<HH", side, side),
        "gif's frame": larger(gif, frame + 5, "<HH", side, side),
        "gif's corner": larger(gif, frame + 1, "<HHHH", 8000, 8000, side - 8000, side - 8000),
        "jpeg": larger(jpeg, jpeg.index(b"\xff\xc0") + 5, ">HH", side, side),
        "webp, extended": extended[:24] + wide + wide + extended[30:],
    }
    if side <= 16383:
        bits = struct.unpack("<I", lossless[21:25])[0] & 0xF0000000
        files["webp, lossless"] = larger(lossless, 21, "<I", bits | side - 1 | side - 1 << 14)
        files["webp, lossy"] = larger(lossy, 26, "<HH", side, side)
        files["avif"] = larger(avif, avif.index(b"ispe") + 8, ">II", side, side)
    return files


@pytest.mark.parametrize("side", [8001, 9900, 16383, 60000])
def test_a_bomb_of_any_format_is_refused_without_a_warning(side: int) -> None:
    """Between 89 and 179 million pixels Pillow warns; above that it raises an error of its own."""
    before = Image.MAX_IMAGE_PIXELS
    for kind, data in bombs(side).items():
        with pytest.raises(UsageError, match=rf"^cannot read the picture: {side}x{side} pixels"):
            read_image(data)
            pytest.fail(kind)
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_bomb_in_memory_or_in_a_tile_is_refused() -> None:
    with pytest.raises(UsageError, match="8001x8001 pixels are more"):
        read_image(Image.new("1", (8001, 8001)))
    tags = [(256, 16), (257, 16), (258, 8), (259, 8), (262, 1), (277, 1)]
    tags += [(322, 65520), (323, 65520), (324, 134), (325, 9)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    data = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + zlib.compress(b"")
    with pytest.raises(UsageError, match="65520x65520 pixels are more"):
        read_image(data)


def test_the_largest_picture_is_not_refused() -> None:
    assert MAX_PIXELS == 8000 * 8000
    data = png((8000, 8000), 8, 0, b"")
    with pytest.raises(UsageError, match="damaged"):  # it gets as far as the pixels
        read_image(data)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_file_is_read_wholly_or_refused(kind: str) -> None:
    picture = Image.fromarray(noise(24, 16))
    data = saved(picture, kind)
    whole = pixels(read_image(data))
    refused = 0
    for end in (*range(min(len(data), 60)), *range(60, len(data), max(1, len(data) // 60))):
        try:
            assert (pixels(read_image(data[:end])) == whole).all(), end
        except UsageError as error:
            assert str(error).startswith("cannot read the picture: ")  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
            refused += 1
    assert refused >= 50


def only_usage_errors(data: bytes) -> None:
    try:
        assert read_image(data).mode == "RGB"
    except UsageError as error:
        assert str(error).startswith("cannot read the picture: ")  # noqa: PT017
        assert len(str(error).splitlines()) == 1  # noqa: PT017


STARTS = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\xff\0\0\0WEBPVP8X", b"BM"]
STARTS += [
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08",
    b"\0\0\0\x1cftypavif",
    b"P6 2 2 ",
    b"P1\n",
    b"Pf\n",
]


@settings(max_examples=150)
@given(st.sampled_from(STARTS), st.binary(max_size=200))
def test_random_bytes_are_refused(start: bytes, rest: bytes) -> None:
    only_usage_errors(start + rest)


@pytest.mark.parametrize("kind", FORMATS)
def test_flipped_bytes_are_read_or_refused(kind: str) -> None:
    exif, rng = Image.Exif(), np.random.default_rng(0)
    exif[0x0112] = 6
    options = (
        {} if kind in {"GIF", "BMP", "PPM"} else {"exif": exif, "icc_profile": profile("sRGB")}
    )
    data = saved(Image.fromarray(noise(8, 8)), kind, **options)
    for _ in range(60):
        damaged = bytearray(data)
        for place in rng.integers(0, min(len(data), 400), 3):
            damaged[place] = rng.integers(256)
        only_usage_errors(bytes(damaged))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "the picture: it is empty"),
        (b"hello", "the picture: it is not a picture (PNG, JPEG, "),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "the picture: format EPS is not supported; save it as one"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "the picture: format HEIC is not supported"),
        (b"<svg xmlns=''/>", "the picture: format SVG is not supported"),
        (b"8BPS\0\1", "the picture: format PSD is not supported"),
        (b"\0\0\1\0\1\0", "the picture: format ICO is not supported"),
        (png((0, 5), 8, 0, b""), "the picture: this PNG is damaged or unusual (no pixels)"),
        (png((5, 0), 8, 0, b""), "the picture: this PNG is damaged or unusual (no pixels)"),
        (Image.new("RGB", (0, 3)), "the picture: it has no pixels (0x3)"),
        ("no/such.png", "no/such.png: No such file or directory"),
        ("", "'': Is a directory"),
        ("a\0b", r"'a\x00b': embedded null byte"),
        (3, "a picture from a int"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(source: media.Source, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_image(source)
    assert str(caught.value).startswith(f"cannot read {message}")


def test_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    (tmp_path / "empty.png").touch()
    for name in ("a.png", "empty.png", "none.png", "."):
        for source in (tmp_path / name, str(tmp_path / name)):
            with pytest.raises(UsageError, match=f"^cannot read {tmp_path / name}"):
                read_image(source)
    with (
        (tmp_path / "a.png").open("rb") as file,
        pytest.raises(UsageError, match=f"^cannot read {tmp_path}/a.png: this PNG is damaged"),
    ):
        read_image(file)


class Pipe(io.BytesIO):
    def seekable(self) -> bool:
        return False


def test_an_endless_pipe_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_formats, "MAX_BYTES", 2**20)
    with pytest.raises(UsageError, match="longer than 1 MB"):
        read_image(cast(BinaryIO, Pipe(bytes(2**20 + 1))))


def test_threads_do_not_disturb_each_other() -> None:
    good, bad = saved(Image.fromarray(noise()), "PNG"), bombs(9900)["gif"]
    outcomes: list[bool] = []

    def read() -> None:
        for _ in range(30):
            with pytest.raises(UsageError, match="9900x9900"):
                read_image(bad)
            outcomes.append(bool((pixels(read_image(good)) == noise()).all()))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [True] * 120


def test_the_middle_is_kept_and_antialiased() -> None:
    picture = np.zeros((20, 60, 3), np.uint8)
    picture[:, 20:40] = 255
    assert pixels(fit_image(Image.fromarray(picture), (10, 10))).min() == 255
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    assert np.abs(pixels(fit_image(Image.fromarray(board), (8, 8))) - 127).max() < 12
    assert fit_image(Image.fromarray(noise()), (5, 8)).size == (8, 5)
    whole = noise(9, 9)
    for height, width in ((9, 9), (9, 5), (3, 9)):
        top, left = (9 - height) // 2, (9 - width) // 2
        middle = whole[top : top + height, left : left + width]
        assert (pixels(fit_image(Image.fromarray(whole), (height, width))) == middle).all()
    with pytest.raises(UsageError, match="at least 1 pixel"):
        fit_image(Image.fromarray(noise()), (4, 0))


# Masks


def read_mask(mask: media.Source, size: tuple[int, int]) -> Image.Image:
    """Where to paint in a picture of that size."""
    return read_image_and_mask(Image.new("RGB", size), mask)[1]


def mask_of(alpha: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(noise(alpha.shape[1], alpha.shape[0]))
    image.putalpha(Image.fromarray(alpha))
    return image


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_alpha_says_where_to_paint(kind: str) -> None:
    alpha = noise(bands=1)
    mask = read_mask(saved(mask_of(alpha), kind, **LOSSLESS[kind]), (13, 9))
    assert mask.mode == "L"
    assert (np.asarray(mask) == np.where(alpha < 128, 255, 0)).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "I;16"])
def test_without_alpha_white_says_where_to_paint(mode: str) -> None:
    gray = noise(bands=1)
    image = Image.fromarray(gray)
    if mode == "I;16":
        image = Image.fromarray(gray.astype(np.uint16) << 8)
    elif mode == "1":
        image = Image.fromarray(gray >= 128)
    else:
        image = image.convert(mode)
    mask = read_mask(saved(image, "PNG"), (13, 9))
    assert (np.asarray(mask) == np.where(gray >= 128, 255, 0)).all()


def test_a_palette_s_transparent_colour_is_painted() -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 1]], np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 255, 255])
    mask = read_mask(saved(image, "GIF", transparency=0), (2, 2))
    assert np.asarray(mask).tolist() == [[255, 0], [0, 0]]


def test_a_mask_of_the_same_proportions_is_resized() -> None:
    half = np.zeros((6, 8), np.uint8)
    half[:, 4:] = 255
    mask = np.asarray(read_mask(Image.fromarray(half), (32, 24)))
    assert mask.shape == (24, 32)
    assert (mask[:, 16:] == 255).all() and not mask[:, :16].any()
    assert read_mask(Image.fromarray(half), (4, 3)).size == (4, 3)


@given(st.integers(16, 400), st.integers(16, 400), st.integers(2, 6), st.booleans())
def test_a_thumbnail_is_a_mask_for_its_picture(w: int, h: int, by: int, up: bool) -> None:
    small = (max(1, round(w / by)), max(1, round(h / by)))
    sizes = ((w, h), small) if up else (small, (w, h))
    assert read_mask(Image.new("L", sizes[1], 255), sizes[0]).size == sizes[0]


@pytest.mark.parametrize("size", [(9, 13), (13, 13), (26, 9), (1300, 800), (13, 12)])
def test_other_proportions_are_refused(size: tuple[int, int]) -> None:
    message = rf"the mask is {size[0]}x{size[1]}, the picture 13x9"
    with pytest.raises(UsageError, match=message):
        read_mask(Image.new("L", size, 255), (13, 9))


def test_nothing_to_paint_is_refused_and_everything_is_not(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing to paint: the mask is opaque everywhere"):
        read_mask(Image.new("RGBA", (4, 4), "white"), (4, 4))
    Image.new("L", (4, 4)).save(tmp_path / "m.png")
    with pytest.raises(UsageError, match=rf"nothing to paint: {tmp_path}/m.png is black"):
        read_mask(tmp_path / "m.png", (4, 4))
    assert read_mask(Image.new("RGBA", (4, 4)), (4, 4)).getextrema() == (255, 255)


def test_the_picture_s_own_alpha_is_the_mask() -> None:
    rgba = noise(bands=4)
    rgb, mask = read_image_and_mask(saved(Image.fromarray(rgba), "PNG"))
    paint = rgba[..., 3] < 128
    assert (np.asarray(mask) == np.where(paint, 255, 0)).all()
    assert (pixels(rgb)[paint] == rgba[paint][:, :3]).all()  # the hidden colours are still there
    assert np.abs(pixels(rgb)[~paint] - on_white(rgba)[~paint]).max() <= 1


def test_a_given_mask_goes_before_the_picture_s_own_alpha() -> None:
    rgba, alpha = noise(bands=4), noise(bands=1, seed=1)
    rgb, mask = read_image_and_mask(Image.fromarray(rgba), mask_of(alpha))
    assert (np.asarray(mask) == np.where(alpha < 128, 255, 0)).all()
    assert np.abs(pixels(rgb) - on_white(rgba)).max() <= 1


def test_mask_and_picture_are_turned_alike() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = noise(bands=1)
    data = saved(mask_of(alpha), "PNG", exif=exif)
    rgb, mask = read_image_and_mask(data)
    assert rgb.size == mask.size == (9, 13)
    assert (np.asarray(mask) == np.where(np.rot90(alpha, -1) < 128, 255, 0)).all()


def test_no_mask_is_explained() -> None:
    with pytest.raises(
        UsageError, match=r"no mask: give one that is transparent where to paint .* or a box"
    ):
        read_image_and_mask(Image.fromarray(noise()))


def test_an_opaque_picture_is_no_mask() -> None:
    with pytest.raises(UsageError, match="nothing to paint: the picture is opaque everywhere"):
        read_image_and_mask(Image.new("RGBA", (4, 4), "red"))


def test_an_array_of_uint8_is_a_picture() -> None:
    colours, clear = noise(), noise(bands=4)
    assert np.array_equal(pixels(read_image(colours)), colours)
    assert np.array_equal(pixels(read_image(torch.from_numpy(colours))), colours)
    assert np.array_equal(pixels(read_image(colours[::-1, ::2])), colours[::-1, ::2])
    assert np.array_equal(pixels(read_image(noise(bands=1))), np.stack([noise(bands=1)] * 3, -1))
    assert np.abs(pixels(read_image(clear)) - on_white(clear)).max() <= 1
    mask = np.zeros((9, 13), np.uint8)
    mask[:, 5:] = 255
    assert np.array_equal(np.asarray(read_image_and_mask(colours, mask)[1]), mask)


@pytest.mark.parametrize(
    ("array", "part"),
    [
        (np.zeros((4, 4, 3)), "an array of float64 and shape (4, 4, 3); give one of uint8"),
        (torch.zeros(3, 4, 4), "an array of float32 and shape (3, 4, 4); give one of uint8"),
        (np.zeros((3, 4, 5), np.uint8), "shape (3, 4, 5); give one of uint8 (0 to 255) and shape"),
        (np.zeros((1, 4, 4, 3), np.uint8), "shape (1, 4, 4, 3)"),
        (np.float64(3), "an array of float64 and shape ()"),
        (np.zeros((0, 4, 3), np.uint8), "it has no pixels (4x0)"),
        (np.broadcast_to(np.uint8(0), (10**6, 10**6)), "more than the limit"),
        (3, "from a int; give a path, bytes, a file, a PIL picture or an array of uint8"),
    ],
)
def test_what_an_array_must_be_is_said(array: Any, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_image(array)
    assert part in str(caught.value)
