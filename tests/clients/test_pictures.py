"""The official clients draw: every call, every way to give a file, and what comes back."""

from __future__ import annotations

import base64
import io
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from .conftest import SIDE
from .official import REASONS, Client, Server
from .servers import ALIASES, Relay

pytestmark = pytest.mark.slow

PROMPT = "a red car"
B64: dict[str, Any] = {"response_format": "b64_json", "size": "256x256"}


def needs(client: Client, *abilities: str) -> None:
    """Skip where the client has not got them."""
    for one in abilities:
        if one in client.kind.lacks:
            pytest.skip(REASONS[one])


def shown(data: dict[str, Any], size: int = SIDE) -> Image.Image:
    """The PNG of base64, of its size."""
    assert data.get("url") is None
    return opened(base64.b64decode(data["b64_json"], validate=True), size)


def opened(data: bytes, size: int | None = None) -> Image.Image:
    """A PNG of that size."""
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        image.load()
        assert size is None or image.size == (size, size)
        return image.convert("RGB")


def fetched(data: dict[str, Any], server: Server, size: int) -> Image.Image:
    """The PNG of an address, which is the server's, ends in hex and .png, and needs no key."""
    assert data.get("b64_json") is None
    assert re.fullmatch(re.escape(server.url) + r"/files/[0-9a-f]{32}\.png", data["url"])
    with urllib.request.urlopen(data["url"], timeout=30) as reply:
        return opened(reply.read(), size)


def kept(made: Image.Image, path: Path) -> bool:
    """Whether the right half is as it was, and the left one is not."""
    right, left = (SIDE // 2, 0, SIDE, SIDE), (0, 0, SIDE // 2, SIDE)
    with Image.open(path) as image:
        before = image.convert("RGB")
    apart = [ImageChops.difference(made.crop(box), before.crop(box)) for box in (right, left)]
    return apart[0].getbbox() is None and apart[1].getbbox() is not None


def test_plain(client: Client, served: Server) -> None:
    answer = client.call(served, "generate", prompt=PROMPT, n=1, size="1024x1024")
    assert answer.body["created"] > 1.7e9
    (one,) = answer.data
    fetched(one, served, 1024)


def test_two_in_base64(client: Client, served: Server) -> None:
    answer = client.call(served, "generate", prompt=PROMPT, n=2, **B64)
    first, second = (shown(one) for one in answer.data)
    assert ImageChops.difference(first, second).getbbox()


def test_ten_are_distinct(client: Client, served: Server) -> None:
    answer = client.call(served, "generate", prompt=PROMPT, n=10, **B64)
    assert len({shown(one).tobytes() for one in answer.data}) == len(answer.data) == 10


def test_nulls_are_defaults(client: Client, served: Server) -> None:
    nulls = dict.fromkeys(("model", "n", "size", "response_format", "user"))
    (one,) = client.call(served, "generate", prompt=PROMPT, **nulls).data
    fetched(one, served, 1024)


@pytest.mark.parametrize("model", ["dall-e-2", "tiny"])
def test_model_names(client: Client, served: Server, model: str) -> None:
    (one,) = client.call(served, "generate", prompt=PROMPT, model=model, **B64).data
    shown(one)


def test_alias(client: Client, served: Server) -> None:
    asked = {"model": "gpt-image-1", "size": "auto", "quality": "low"}
    newer = {"background": "auto", "moderation": "low"}
    (one,) = client.call(served, "generate", extra=newer, prompt=PROMPT, **asked).data
    shown(one, 16)  # base64 and the model's own size: the defaults of that name


def test_edit_of_an_open_picture(client: Client, served: Server, files: dict[str, Path]) -> None:
    given = {"image": ("file", files["open"])}
    (one,) = client.call(served, "edit", given, prompt=PROMPT, n=1, **B64).data
    assert kept(shown(one), files["open"])


def test_edit_with_a_mask(client: Client, served: Server, files: dict[str, Path]) -> None:
    given = {"image": ("file", files["picture"]), "mask": ("file", files["mask"])}
    answer = client.call(served, "edit", given, prompt=PROMPT, n=2, **B64)
    pictures = [shown(one) for one in answer.data]
    assert len({one.tobytes() for one in pictures}) == 2
    assert all(kept(one, files["picture"]) for one in pictures)


@pytest.mark.parametrize("way", ["bytes", "path", "tuple", "list"])
def test_ways_to_give_a_file(
    client: Client, served: Server, files: dict[str, Path], way: str
) -> None:
    needs(client, way)
    given = {"image": (way, files["open"])}
    (one,) = client.call(served, "edit", given, prompt=PROMPT, model="dall-e-2", **B64).data
    assert kept(shown(one), files["open"])


def test_chunked_upload(client: Client, relay: Relay, files: dict[str, Path]) -> None:
    needs(client, "pipe")
    given = {"image": ("pipe", files["open"])}
    relay.taken()
    (one,) = client.call(relay.server, "edit", given, prompt=PROMPT, **B64).data
    sent = relay.taken().lower()
    if b"content-length" in sent:
        pytest.skip("it always says how long an upload is")
    assert b"transfer-encoding: chunked" in sent
    assert kept(shown(one), files["open"])


def test_files_before_fields(client: Client, relay: Relay, files: dict[str, Path]) -> None:
    relay.taken()
    given = {"image": ("file", files["picture"]), "mask": ("file", files["mask"])}
    (one,) = client.call(relay.server, "edit", given, prompt=PROMPT, **B64).data
    sent = relay.taken()
    if sent.index(b'name="image') > sent.index(b'name="prompt"'):
        pytest.skip("it always puts fields first")
    assert kept(shown(one), files["picture"])


def test_variation(client: Client, served: Server, files: dict[str, Path]) -> None:
    given = {"image": ("file", files["picture"])}
    answer = client.call(served, "variation", given, n=2, **B64)
    assert len({shown(one).tobytes() for one in answer.data}) == 2
    (one,) = client.call(served, "variation", given, model="dall-e-2").data
    fetched(one, served, 1024)


def test_models(client: Client, served: Server) -> None:
    listed = client.call(served, "models").body["data"]
    assert {one["id"] for one in listed} == {"tiny", "dall-e-2", *ALIASES}
    assert {one["object"] for one in listed} == {"model"}
    one = client.call(served, "model", model="dall-e-2").body
    assert one["id"] == "dall-e-2" and one["owned_by"]


def test_a_seed_draws_the_same(client: Client, served: Server) -> None:
    def draw(seed: int, n: int = 1) -> list[Image.Image]:
        answer = client.call(served, "generate", extra={"seed": seed}, prompt=PROMPT, n=n, **B64)
        assert [one["seed"] for one in answer.data] == [seed + i for i in range(n)]
        return [shown(one) for one in answer.data]

    first, other, alone = draw(7, 2), draw(8), draw(7)
    for one, again in ((first[0], alone[0]), (first[1], other[0])):
        extrema = ImageChops.difference(one, again).getextrema()
        assert max(high for _, high in extrema) <= 1  # whatever it was drawn together with
    assert ImageChops.difference(first[0], other[0]).getbbox()


def test_a_seed_of_an_edit(client: Client, served: Server, files: dict[str, Path]) -> None:
    given = {"image": ("file", files["open"])}
    asked: dict[str, Any] = {"extra": {"seed": 5}, "prompt": PROMPT, **B64}
    twice = [client.call(served, "edit", given, **asked).data[0] for _ in range(2)]
    assert [one["seed"] for one in twice] == [5, 5]
    assert shown(twice[0]).tobytes() == shown(twice[1]).tobytes()


def test_fields_of_other_models_change_nothing(client: Client, served: Server) -> None:
    others = {"quality": "standard", "style": "vivid", "user": "me"}
    asked: dict[str, Any] = {"extra": {"seed": 3}, "prompt": PROMPT, **B64}
    plain, more = (client.call(served, "generate", **asked, **one).data for one in ({}, others))
    assert shown(plain[0]).tobytes() == shown(more[0]).tobytes()


def test_stream_with_previews(client: Client, served: Server) -> None:
    needs(client, "stream")
    slowly: dict[str, Any] = {"extra": {"seed": 7, "steps": 60}, "prompt": PROMPT}
    slowly["model"] = "gpt-image-1"
    streamed = client.call(served, "generate", stream=True, partial_images=2, **slowly)
    *previews, last = streamed.body["events"]
    assert [one["type"] for one in previews] == 2 * ["image_generation.partial_image"]
    assert [one["partial_image_index"] for one in previews] == [0, 1]
    for one in previews:
        opened(base64.b64decode(one["b64_json"]))
    assert last["type"] == "image_generation.completed"
    (whole,) = client.call(served, "generate", **slowly).data
    end = opened(base64.b64decode(last["b64_json"]), 16)
    assert end.tobytes() == shown(whole, 16).tobytes()


def test_stream_of_an_edit(client: Client, served: Server, files: dict[str, Path]) -> None:
    needs(client, "stream")
    given = {"image": ("file", files["picture"]), "mask": ("file", files["mask"])}
    asked: dict[str, Any] = {"model": "gpt-image-1", "stream": True, "size": "256x256"}
    answer = client.call(served, "edit", given, prompt=PROMPT, **asked)
    (last,) = answer.body["events"]
    assert last["type"] == "image_edit.completed"
    assert kept(opened(base64.b64decode(last["b64_json"]), SIDE), files["picture"])


def test_raw_headers(client: Client, served: Server) -> None:
    answer = client.call(served, "generate", raw=True, prompt=PROMPT, **B64)
    shown(answer.data[0])
    assert int(answer.headers["openai-processing-ms"]) >= 0
    needs(client, "headers")
    assert re.fullmatch("req_[0-9a-f]{32}", answer.headers["x-request-id"])
    assert int(answer.headers["x-ratelimit-limit-requests"]) >= 1
    assert answer.headers["x-unclip-size"] == "resampled from 16x16"


def test_azure(client: Client, served: Server, files: dict[str, Path]) -> None:
    needs(client, "azure")
    asked = {"prompt": PROMPT, "model": "dall-e-2", "azure": True}
    (one,) = client.call(served, "generate", **asked, **B64).data
    shown(one)
    given = {"image": ("file", files["picture"])}
    (one,) = client.call(served, "variation", given, azure=True, **B64).data
    shown(one)


def test_azure_edit(client: Client, served: Server, files: dict[str, Path]) -> None:
    needs(client, "azure")
    given = {"image": ("file", files["open"])}
    asked = {"prompt": PROMPT, "model": "dall-e-2", "azure": True}
    (one,) = client.call(served, "edit", given, **asked, **B64).data
    assert kept(shown(one), files["open"])
