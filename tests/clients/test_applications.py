"""What applications send is answered as they read it.

LangChain and LlamaIndex run themselves where `scripts/clients.py` has installed them, and send
what stands here. The requests of Open WebUI 0.12.4 are those of its wheel
(`open_webui/routers/images.py`), those of n8n are of `@n8n/n8n-nodes-langchain` 2.41.1
(`OpenAi/v2/actions/image`). LibreChat and AnythingLLM are in no package index, and what the AI SDK
sends was noted, not captured: these are called "as seen".
"""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image

from clients import ENVIRONMENTS

from ..server.fakes import png
from ..server.house import KEY, House, a_house
from .official import AGENTS, Server
from .servers import ALIASES, Relay

PROMPT = "a red car"
OPEN = png((64, 64), (9, 9, 9, 0), "RGBA")
JPEG = png((64, 48), (1, 2, 3), format="JPEG")

Read = Callable[[dict[str, Any], House], bytes]


def by_url(one: dict[str, Any], house: House) -> bytes:
    """The file of an address, fetched without a key."""
    assert one["url"].startswith(f"{house.url}/files/")
    with urllib.request.urlopen(one["url"], timeout=30) as reply:
        data: bytes = reply.read()
    return data


def by_base64(one: dict[str, Any], house: House) -> bytes:
    return base64.b64decode(one["b64_json"], validate=True)


def by_either(one: dict[str, Any], house: House) -> bytes:
    """An address where there is one, as Open WebUI and AnythingLLM read it."""
    return by_url(one, house) if one.get("url") else by_base64(one, house)


def by_name(one: dict[str, Any], house: House) -> bytes:
    """LibreChat's DALL·E tool takes the file's name out of the address."""
    found = re.search(r"[\w\d]+\.png", one["url"])
    assert found and one["url"].endswith(f"/{found[0]}")
    return by_url(one, house)


@dataclass(frozen=True)
class Request:
    """A request of an application.

    Args:
        body: JSON, or the fields of a form.
        size: of the picture that it expects; None: the model's own.
        read: how it reads the answer.
        path: after the base URL.
        files: (name, filename, content type, data) of a form's files.
        files_first: they come before the fields.
        chunked: the form is streamed, without a length.
    """

    body: Mapping[str, Any]
    size: tuple[int, int] | None
    read: Read
    path: str = "/images/generations"
    files: tuple[tuple[str, str, str, bytes], ...] = ()
    files_first: bool = False
    chunked: bool = False

    def sent(self) -> tuple[dict[str, str], bytes]:
        """Headers and body."""
        if not self.files:
            return {"content-type": "application/json"}, json.dumps(dict(self.body)).encode()
        fields = [_part(name, str(value).encode()) for name, value in self.body.items()]
        files = [
            _part(name, data, f'; filename="{file}"\r\nContent-Type: {kind}')
            for name, file, kind, data in self.files
        ]
        parts = files + fields if self.files_first else fields + files
        body = b"".join(parts) + b"--limit--\r\n"
        return {"content-type": "multipart/form-data; boundary=limit"}, body


def _part(name: str, data: bytes, more: str = "") -> bytes:
    head = f'--limit\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + data + b"\r\n"


LARGE = (1024, 1024)
LANGCHAIN = {"prompt": PROMPT, "model": "dall-e-2", "n": 1, "size": "1024x1024"}
LLAMA_INDEX = {
    "prompt": PROMPT,
    "model": "dall-e-3",
    "n": 1,
    "quality": "standard",
    "response_format": "url",
    "size": "1024x1024",
    "style": "vivid",
}
OPEN_WEBUI = {"model": "dall-e-2", "prompt": PROMPT, "n": 1, "size": "512x512"}
B64 = {"response_format": "b64_json"}
LIBRECHAT = {"model": "gpt-image-1", "prompt": PROMPT, "size": "auto", "quality": "auto"}
N8N_EDIT = {"prompt": PROMPT, "model": "dall-e-2", "n": "1", "size": "1024x1024", **B64}
N8N_LATER = {"prompt": PROMPT, "model": "gpt-image-1", "n": "1", "size": "1024x1024"}

REQUESTS = {
    "LangChain 0.4.2": Request(LANGCHAIN, LARGE, by_url),
    "LlamaIndex 0.7.0": Request(LLAMA_INDEX, LARGE, by_url),
    "Open WebUI 0.12.4": Request({**OPEN_WEBUI, **B64}, (512, 512), by_either),
    "Open WebUI 0.12.4 for Azure": Request(
        {**OPEN_WEBUI, **B64}, (512, 512), by_either, "/images/generations?api-version=2024-02-01"
    ),
    "Open WebUI 0.12.4 with gpt-image-1": Request(
        {**OPEN_WEBUI, "model": "gpt-image-1"}, (512, 512), by_either
    ),
    "Open WebUI 0.12.4 edits a JPEG": Request(
        {"model": "gpt-image-1", "prompt": PROMPT, "n": 1, "size": "512x512"},
        (512, 512),
        by_either,
        "/images/edits",
        (("image", "image.jpeg", "image/jpeg", JPEG),),
    ),
    "Open WebUI 0.12.4 edits a list of one": Request(
        {"model": "dall-e-2", "prompt": PROMPT, **B64},
        LARGE,
        by_either,
        "/images/edits",
        (("image[]", "image.png", "image/png", OPEN),),
    ),
    "n8n 2.41.1": Request(
        {"prompt": PROMPT, "model": "dall-e-3", **B64, "quality": "standard", "style": "vivid"},
        LARGE,
        by_base64,
    ),
    "n8n 2.41.1 with gpt-image-1-mini": Request(
        {"prompt": PROMPT, "model": "gpt-image-1-mini"}, None, by_base64
    ),
    "n8n 2.41.1 edits with a mask": Request(
        N8N_EDIT,
        LARGE,
        by_base64,
        "/images/edits",
        (("image", "a.png", "image/png", OPEN), ("mask", "b.png", "image/png", OPEN)),
        files_first=True,
    ),
    "n8n 2.41.1 edits with gpt-image-1": Request(
        {**N8N_LATER, "quality": "auto", "output_format": "png"},
        LARGE,
        by_base64,
        "/images/edits",
        (("image[]", "a.png", "image/png", OPEN),),
        files_first=True,
    ),
    "LibreChat, as seen": Request(
        {**LIBRECHAT, "n": 1, "background": "auto", "output_format": "png"}, None, by_base64
    ),
    "LibreChat edits, as seen": Request(
        LIBRECHAT,
        None,
        by_base64,
        "/images/edits",
        (("image[]", "a.png", "image/png", OPEN),),
        chunked=True,
    ),
    "LibreChat's DALL-E tool, as seen": Request(
        {"model": "dall-e-3", "prompt": PROMPT, "quality": "standard", "style": "vivid", "n": 1}
        | {"size": "1024x1024"},
        LARGE,
        by_name,
    ),
    "AnythingLLM, as seen": Request(
        {"model": "gpt-image-1", "prompt": PROMPT, "n": 1, "size": "1024x1024"}, LARGE, by_either
    ),
    "AI SDK, as seen": Request(
        {"model": "dall-e-2", "prompt": PROMPT, "n": 1, "size": "1024x1024", **B64},
        LARGE,
        by_base64,
    ),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server with the names that applications ask for."""
    folder = tmp_path_factory.mktemp("applications")
    with a_house(folder, aliases=dict.fromkeys(ALIASES, "")) as made:
        yield made


@pytest.mark.parametrize("name", REQUESTS)
def test_replay(house: House, name: str) -> None:
    asked = REQUESTS[name]
    headers, body = asked.sent()
    with house.client(headers=headers) as client:
        content = iter([body[:100], body[100:]]) if asked.chunked else body
        reply = client.post(f"/v1{asked.path}", content=content)
    assert reply.status_code == 200, reply.text
    (one,) = reply.json()["data"]
    with Image.open(io.BytesIO(asked.read(one, house)), formats=["PNG"]) as image:
        assert image.size == (asked.size or (64, 64))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "replay"),
    [("langchain-0.4.2", LANGCHAIN), ("llama-index-0.7.0", LLAMA_INDEX)],
    ids=["langchain-0.4.2", "llama-index-0.7.0"],
)
def test_itself(house: House, name: str, replay: dict[str, Any]) -> None:
    program = ENVIRONMENTS / name / "bin" / "python"
    if not program.exists():
        pytest.skip("`make clients` makes its environment")
    agent = AGENTS / f"app_{name.rpartition('-')[0].replace('-', '_')}.py"
    relay = Relay(Server(house.url, KEY))
    command = [program, agent, f"{relay.server.url}/v1", KEY, PROMPT]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    sent = relay.taken()
    relay.close()
    assert json.loads(sent.partition(b"\r\n\r\n")[2]) == replay  # so the replay is what it sends
    data = by_url({"url": ran.stdout.split()[-1]}, house)
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        assert image.size == LARGE
