"""Uploads and troubles over HTTP; what a picture may hold is tested in tests/media/test_uploads."""

from __future__ import annotations

import io
import json
import resource
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from unclip.errors import OutputError

from .fakes import png
from .house import GENERATIONS, JSON, House, a_house, error_of

VARIATIONS = "/v1/images/variations"
RED = png((16, 16), (200, 30, 30))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with a_house(tmp_path_factory.mktemp("data")) as made:
        yield made


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", len(data), name) + data + struct.pack(">I", zlib.crc32(name + data))


def file_of(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def varied(house: House, data: bytes, name: str = "x.png") -> Any:
    with house.client() as client:
        return client.post(VARIATIONS, files={"image": (name, data, "image/png")})


def kept(house: House) -> bytes:
    """The picture that the worker got last."""
    return Path(house.worker.drawn[-1]["inputs"]["image"]).read_bytes()


def test_of_an_apng_the_first_frame_is_taken(house: House) -> None:
    frames = [Image.new("RGB", (16, 16), "blue")]
    data = file_of(Image.new("RGB", (16, 16), "red"), save_all=True, append_images=frames)
    assert b"acTL" in data and varied(house, data).status_code == 200
    assert b"acTL" not in kept(house)
    with Image.open(io.BytesIO(kept(house))) as picture:
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("name", [b"zTXt", b"iCCP"])
def test_a_bomb_in_a_text_or_a_profile_is_never_unpacked(house: House, name: bytes) -> None:
    bomb = b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data = RED[:33] + chunk(name, bomb) * 4 + RED[33:]
    assert varied(house, data).status_code == 200
    assert name not in kept(house)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 2**10  # in kB


@pytest.mark.parametrize("mode", ["I;16", "P", "1", "L", "LA"])
def test_16_bits_and_palettes_are_pictures_too(house: House, mode: str) -> None:
    grey = Image.new("L", (16, 16), 255)
    assert varied(house, file_of(grey.convert(mode))).status_code == 200


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "TIFF", "BMP", "ICO", "PPM"])
def test_another_format_named_png_is_400(house: House, kind: str) -> None:
    reply = varied(house, png((16, 16), format=kind))
    assert reply.status_code == 400 and error_of(reply.content)["param"] == "image"


@pytest.mark.parametrize("tail", [b"<svg onload='alert(1)'/>", b"<html><script>1</script>", b"PK"])
def test_what_a_picture_is_besides_is_cut_off(house: House, tail: bytes) -> None:
    assert varied(house, RED + tail, "x.html").status_code == 200
    assert kept(house).endswith(b"IEND\xaeB`\x82")


def test_out_of_memory_at_n_10_is_503(house: House) -> None:
    failure = {"code": "memory", "message": "there is not enough memory", "field": None}
    house.worker.fails = lambda spec: failure
    try:
        body = json.dumps({"prompt": "a fox", "n": 10}).encode()
        reply = house.raw("POST", GENERATIONS, JSON, body)
    finally:
        house.worker.fails = lambda spec: None
    assert reply.status == 503 and "memory" in reply.error()["message"]


@pytest.mark.parametrize("why", ["another program has locked it", "it is damaged", "read-only"])
def test_a_database_in_trouble_is_loud_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    def fails(*_: Any) -> None:
        raise OutputError(f"cannot use unclip.db: {why}")

    body = json.dumps({"prompt": "a fox"}).encode()
    with a_house(tmp_path) as house:
        house.loop.call_soon_threadsafe(house.worker.go.clear)
        native = json.dumps({"ability": "generate", "fields": {"prompt": "a car"}}).encode()
        job = json.loads(house.raw("POST", "/v1/jobs", JSON, native).content)["id"]
        with monkeypatch.context() as patched:
            patched.setattr(house.engine.store, "add", fails)
            reply = house.raw("POST", GENERATIONS, JSON, body)
            assert reply.status == 503 and why in reply.error()["message"]
        house.loop.call_soon_threadsafe(house.worker.go.set)
        assert house.raw("POST", GENERATIONS, JSON, body).status == 200
        found = house.engine.store.job(job)
        assert found is not None and found.state == "done"
