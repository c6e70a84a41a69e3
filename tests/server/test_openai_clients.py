"""What programs send on their own, written from their releases: each gets what it reads."""

from __future__ import annotations

from typing import Any

import pytest

from unclip.server.openai import reply

from ._wire import asked, drawn, edited, file, png, varied

BODIES: dict[str, tuple[dict[str, Any], str, tuple[int, int] | None]] = {
    "LangChain 0.4.2": (
        {"model": "dall-e-2", "n": 1, "size": "1024x1024"},
        *("url", (1024, 1024)),
    ),
    "LlamaIndex": (
        {
            "model": "dall-e-3",
            "n": 1,
            "size": "1024x1024",
            "quality": "standard",
            "style": "vivid",
            "response_format": "url",
        },
        *("url", (1024, 1024)),
    ),
    "Open WebUI 0.12.4, dall-e-2": (
        {"model": "dall-e-2", "n": 1, "size": "512x512", "response_format": "b64_json"},
        *("b64_json", (512, 512)),
    ),
    "Open WebUI 0.12.4, gpt-image": (
        {"model": "gpt-image-1", "n": 1, "size": "512x512"},
        *("b64_json", (512, 512)),
    ),
    "LibreChat": (
        {"model": "gpt-image-1", "size": "auto", "quality": "auto", "background": "auto"},
        *("b64_json", None),
    ),
    "LibreChat, DALL·E tool": (
        {"model": "dall-e-3", "n": 1, "size": "1792x1024", "quality": "hd", "style": "natural"},
        *("url", (1792, 1024)),
    ),
    "AnythingLLM": (
        {"model": "gpt-image-1", "n": 1, "size": "1024x1024"},
        *("b64_json", (1024, 1024)),
    ),
    "n8n 2": (
        {"model": "dall-e-3", "n": 1, "size": "1024x1024", "response_format": "b64_json"},
        *("b64_json", (1024, 1024)),
    ),
    "AI SDK, openai-compatible": (
        {"model": "emoji", "n": 2, "size": "256x256", "response_format": "b64_json"},
        *("b64_json", (256, 256)),
    ),
    "openai 3.57 with None": (
        {"model": None, "n": None, "size": None, "response_format": None, "user": None},
        *("url", (1024, 1024)),
    ),
}


@pytest.mark.parametrize("client", BODIES)
def test_a_client_finds_its_pictures_where_it_looks(client: str) -> None:
    body, wanted, size = BODIES[client]
    call = asked(**body)
    told = reply(call, [(drawn(), b"file")] * call.n, 5, lambda one: f"http://x/{one.id}.png")
    assert call.finish.size == size
    assert len(told["data"]) == (body.get("n") or 1)
    assert all(one[wanted] for one in told["data"])
    assert {"url", "b64_json"} & told["data"][0].keys() == {wanted}


def test_open_webui_sends_jpeg_to_edits() -> None:
    photo = file("image[]", png((64, 48), kind="JPEG"))
    call = edited(photo, model="gpt-image-1", n=1, size="512x512")
    assert call.response_format == "b64_json"


def test_openai_0_28_sends_files_without_a_model() -> None:
    holed = png(hole=True)
    call = edited(file("image", holed), file("mask", holed), n=1, size="1024x1024")
    assert (call.model, call.response_format) == ("emoji", "url")
    assert varied(file("image", holed), n=2, size="256x256").n == 2
