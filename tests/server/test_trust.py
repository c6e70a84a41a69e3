"""What strangers send: each row of docs/serve.md's table of trust that concerns HTTP."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unclip.errors import OutputError

from .fakes import png
from .house import BEARER, EDITS, GENERATIONS, HOST, JSON, KEY, House, a_house, error_of


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server that several tests attack."""
    with a_house(tmp_path_factory.mktemp("data"), aliases={"gpt-image-1": ""}) as made:
        yield made


@pytest.fixture(autouse=True)
def _still_there(house: House) -> Iterator[None]:
    """Whatever was sent, the server answers the next request."""
    yield
    body = json.dumps({"prompt": "a fox"}).encode()
    assert house.raw("POST", GENERATIONS, JSON, body).status == 200


def sent(house: House, head: str, pieces: Any, pause: float = 0) -> bytes:
    """The answer to raw bytes; sending ends where the server closes."""
    with socket.create_connection(("127.0.0.1", house.port), timeout=20) as wire:
        answer = b""
        with contextlib.suppress(ConnectionError):
            wire.sendall(head.replace("\n", "\r\n").encode() + b"\r\n")
            for piece in pieces:
                wire.sendall(piece)
                time.sleep(pause)
        with contextlib.suppress(ConnectionError):
            while data := wire.recv(65536):
                answer += data
                if b"\r\n\r\n" in answer and answer.endswith(b"}"):
                    break
        return answer


def head(path: str, **more: str) -> str:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {KEY}"]
    return "\n".join([*lines, *(f"{name}: {value}" for name, value in more.items()), ""])


# bodies


def test_a_body_that_says_it_is_300_mb_is_413_before_any_of_it_is_read(house: House) -> None:
    said = {"Content-Type": "application/json", "Content-Length": str(300 * 2**20)}
    answer = sent(house, head(GENERATIONS, **said), [])
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert error_of(answer.partition(b"\r\n\r\n")[2])["code"] == "request_too_large"


def test_a_300_mb_body_in_chunks_is_413_before_it_is_read_whole(house: House) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count, chunk = [0], b"10000\r\n" + bytes(65536) + b"\r\n"

    def chunks() -> Iterator[bytes]:
        for _ in range(300 * 16):
            count[0] += 1
            yield chunk

    said = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    answer = sent(house, head(GENERATIONS, **said), chunks())
    assert answer.startswith(b"HTTP/1.1 413 ") or count[0] < 300 * 16
    assert count[0] * 65536 < 100 * 2**20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 2**10  # in kB


def test_without_a_key_nothing_of_a_body_is_read(house: House) -> None:
    lines = f"POST {GENERATIONS} HTTP/1.1\nHost: localhost\nContent-Length: 1000000\n"
    assert sent(house, lines, []).startswith(b"HTTP/1.1 401 ")


def test_a_slow_upload_is_ended(tmp_path: Path) -> None:
    with a_house(tmp_path, upload_seconds=0.3) as house:
        said = {"Content-Type": "application/json", "Content-Length": "1000"}
        began = time.perf_counter()
        answer = sent(house, head(GENERATIONS, **said), (b"x" for _ in range(20)), pause=0.1)
        assert time.perf_counter() - began < 5
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert error_of(answer.partition(b"\r\n\r\n")[2])["code"] == "request_timeout"


@pytest.mark.parametrize("pieces", [[], [b"x"] * 30])
def test_headers_that_never_end_are_left(tmp_path: Path, pieces: list[bytes]) -> None:
    with a_house(tmp_path, upload_seconds=0.2) as house:
        began = time.perf_counter()
        lines = "GET /healthz HTTP/1.1\nHost: localhost\nX: " if pieces else ""
        with socket.create_connection(("127.0.0.1", house.port), timeout=20) as wire:
            wire.sendall(lines.replace("\n", "\r\n").encode())
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    wire.sendall(piece)
                    time.sleep(0.1)
                assert wire.recv(100) == b""
        assert time.perf_counter() - began < 4
        with house.client() as client:  # a connection that waits between requests is kept
            assert client.get("/healthz").status_code == 200
            time.sleep(0.5)
            assert client.get("/healthz").status_code == 200


def form(parts: list[tuple[str, bytes]], boundary: str = "xx", end: bool = True) -> bytes:
    body = b""
    for name, data in parts:
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        body += (b'; filename="a.png"' if name == "image" else b"") + b"\r\n\r\n" + data + b"\r\n"
    return body + (f"--{boundary}--\r\n".encode() if end else b"")


FORM = {**HOST, **BEARER, "content-type": "multipart/form-data; boundary=xx"}


@pytest.mark.parametrize("name", ["n", "image"])
def test_ten_thousand_parts_are_400(house: House, name: str) -> None:
    reply = house.raw("POST", EDITS, FORM, form([(name, b"1")] * 10_000))
    assert reply.status == 400 and "Too many" in reply.error()["message"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=yy", form([("prompt", b"a")])),
        ("multipart/form-data", form([("prompt", b"a")])),
        ("multipart/form-data; boundary=xx", b"nothing of a form"),
        ("multipart/form-data; boundary=xx", form([("image", png((8, 8)))], end=False)),
        ("multipart/form-data; boundary=" + 1000 * "x", form([("prompt", b"a")])),
        ("application/x-www-form-urlencoded", b"prompt=%ff&n=%"),
        ("multipart/form-data; boundary=xx", b""),
    ],
)
def test_a_broken_boundary_is_400(house: House, kind: str, body: bytes) -> None:
    reply = house.raw("POST", EDITS, {**FORM, "content-type": kind}, body)
    assert reply.status == 400 and reply.error()["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b'{"prompt": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b'{"prompt": "a", "guidance_scale": NaN}',
        b'{"prompt": "a", "guidance_scale": 1e999}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "a\\u0000b"}',
        b'{"prompt": 5}',
        b'{"prompt": ["a"]}',
        b'{"prompt": "a", "n": "2.5"}',
        b'{"prompt": "a", "n": true}',
        b'{"prompt": "a", "n": 1' + b"0" * 10_000 + b"}",
        b'{"prompt": "a", "seed": 1' + b"0" * 400 + b"}",
        b'["a"]',
        b'"a"',
        b"null",
        b"",
        b"\xff\xfe{}",
        b'{"prompt": "a"',
    ],
)
def test_json_that_is_not_as_it_has_to_be_is_400(house: House, body: bytes) -> None:
    for path in (GENERATIONS, "/v1/jobs"):
        reply = house.raw("POST", path, JSON, body)
        assert reply.status == 400, (path, reply.content)
        assert reply.error()["type"] == "invalid_request_error"
        assert "sys." not in reply.error()["message"]


def test_a_form_where_json_is_wanted_is_400(house: House) -> None:
    reply = house.raw("POST", GENERATIONS, FORM, form([("prompt", b"a")]))
    assert reply.status == 400 and "JSON" in reply.error()["message"]


def test_an_http_address_in_an_edit_is_never_fetched(house: House) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as trap:
        trap.settimeout(0.3)
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/x.png"
        images = [{"image_url": url}]
        body = {"model": "gpt-image-1", "prompt": "a cat", "images": images}
        reply = house.raw("POST", EDITS, JSON, json.dumps(body).encode())
        assert reply.status == 400
        with pytest.raises(TimeoutError):
            trap.accept()


# names and addresses


@pytest.mark.parametrize(
    "path",
    [
        "/files/../unclip.db",
        "/files/..%2funclip.db",
        "/files/%2e%2e/%2e%2e/etc/passwd",
        "/files/" + 32 * "0" + ".png",
        "/files/" + 32 * "0" + ".png/../x",
        "/files/" + 32 * "0" + ".svg",
        "/files/" + 31 * "0" + "%00.png",
        "/static/../unclip.db",
        "/static/%2e%2e/unclip.db",
    ],
)
def test_dots_in_names_lead_nowhere(house: House, path: str) -> None:
    for headers in (HOST, {**HOST, **BEARER}):
        reply = house.raw("GET", path, headers)
        assert reply.status in (401, 404) and reply.error()


@pytest.mark.parametrize("id", ["..", "%2e%2e", 32 * "g", "0", 32 * "0", "..%2f..%2fx"])
def test_ids_that_are_none_are_404(house: House, id: str) -> None:
    headers = {**HOST, **BEARER}
    for path in (f"/v1/jobs/{id}", f"/v1/pictures/{id}/file"):
        assert house.raw("GET", path, headers).status in (404, 405), path


def test_a_huge_range_costs_nothing(house: House) -> None:
    body = json.dumps({"prompt": "a fox"}).encode()
    made = json.loads(house.raw("POST", GENERATIONS, JSON, body).content)
    path = made["data"][0]["url"].removeprefix(house.url)
    whole = house.raw("GET", path, HOST)
    many = ",".join(f"{one}-{one}" for one in range(2000))
    for asked in (f"bytes={many}", f"bytes=0-{10**30}", f"bytes=-{10**30}"):
        began = time.perf_counter()
        reply = house.raw("GET", path, {**HOST, "range": asked})
        assert time.perf_counter() - began < 1
        assert (reply.status, reply.content) == (200, whole.content)


def test_pictures_have_a_fixed_type_and_run_nothing(house: House) -> None:
    body = json.dumps({"prompt": "<script>alert(1)</script>"}).encode()
    made = json.loads(house.raw("POST", GENERATIONS, JSON, body).content)
    reply = house.raw("GET", made["data"][0]["url"].removeprefix(house.url), HOST)
    assert reply.headers["content-type"] == "image/png"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in reply.headers["content-security-policy"]


def refused(house: House, data: bytes) -> Any:
    with house.client() as client:
        reply = client.post("/v1/pictures", files={"file": ("x.png", data, "image/png")})
    assert reply.status_code == 400, reply.text
    return error_of(reply.content)


@pytest.mark.parametrize(
    "data",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        b"<html><script>alert(1)</script></html>",
        b"",
        png((8, 8))[:40],
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        png((8, 8), format="BMP"),
    ],
)
def test_uploads_that_are_no_pictures_are_400(house: House, data: bytes) -> None:
    assert refused(house, data)["param"] == "file"


def bomb() -> bytes:
    """A PNG whose header says 50,000 x 50,000 pixels."""
    data = png((8, 8), (0, 0, 0, 0), "RGBA")
    head = b"IHDR" + struct.pack(">II", 50_000, 50_000) + data[24:29]
    return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]


def test_a_decompression_bomb_is_400_by_its_header(house: House) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "50000" in refused(house, bomb())["message"].replace(",", "")
    with house.client() as client:
        reply = client.post(EDITS, files={"image": bomb()}, data={"prompt": "a cat"})
    assert reply.status_code == 400 and error_of(reply.content)["param"] == "image"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 2**10  # in kB


def test_a_full_or_read_only_disk_still_answers_in_base64(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OutputError("the disk is full")

    with a_house(tmp_path) as house:
        monkeypatch.setattr(house.engine.store, "finish", full)
        body = {"prompt": "a fox", "response_format": "b64_json"}
        reply = house.raw("POST", GENERATIONS, JSON, json.dumps(body).encode())
        assert reply.status == 200 and json.loads(reply.content)["data"][0]["b64_json"]
        assert json.loads(reply.content)["data"] and reply.headers["x-unclip-kept"] == "no"
        for name in ("add", "lease", "put_input"):  # as of a folder that is read-only
            monkeypatch.setattr(house.engine.store, name, full)
        reply = house.raw("POST", GENERATIONS, JSON, json.dumps(body).encode())
        assert reply.status == 200 and reply.headers["x-unclip-kept"] == "no"
        reply = house.raw("POST", GENERATIONS, JSON, json.dumps({"prompt": "a fox"}).encode())
        assert reply.status == 503 and "disk is full" in reply.error()["message"]
        open_png = form([("image", png((8, 8), (0, 0, 0, 0), "RGBA")), ("prompt", b"a cat")])
        reply = house.raw("POST", EDITS, FORM, open_png)
        assert reply.status == 503 and "disk is full" in reply.error()["message"]
        monkeypatch.undo()


def test_a_disconnect_while_queued_and_while_running_cancels(tmp_path: Path) -> None:
    with a_house(tmp_path, patience=0.1) as house:
        house.worker.go.clear()
        body = json.dumps({"prompt": "a fox"}).encode()
        said = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        wires = []
        for _ in range(2):
            wire = socket.create_connection(("127.0.0.1", house.port))
            lines = head(GENERATIONS, **said).replace("\n", "\r\n")
            wire.sendall(lines.encode() + b"\r\n" + body)
            wires.append(wire)
        counts = house.engine.store.counts
        until(lambda: (counts()["running"], counts()["queued"]) == (1, 1))
        for wire in wires:
            wire.close()
        until(lambda: counts()["cancelled"] == 2)


def until(true: Any) -> None:
    """Wait for something."""
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError
