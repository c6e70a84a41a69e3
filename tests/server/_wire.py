"""Requests of the Images API, without HTTP."""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from unclip.server.errors import ApiError
from unclip.server.job import Drawn
from unclip.server.openai import Call, Part, Served, edit, generation, parse_body, variation

SERVED = Served(
    ("emoji", "large"),
    {"dall-e-3": "emoji", "gpt-image-1": "emoji", "gpt-image-2": "large", "mine": "large"},
    {"emoji": (256, 256)},
)
KEYS = {"message", "type", "param", "code"}


def png(
    size: tuple[int, int] = (16, 16),
    alpha: int | None = None,
    hole: bool = False,
    kind: str = "PNG",
) -> bytes:
    """A red picture, opaque or of one alpha, transparent in its left half where it has a hole."""
    picture = Image.new("RGB", size, (200, 30, 30))
    if alpha is not None or hole:
        picture.putalpha(255 if alpha is None else alpha)
    if hole:
        picture.paste((0, 0, 0, 0), (0, 0, size[0] // 2, size[1]))
    data = io.BytesIO()
    picture.save(data, kind)
    return data.getvalue()


def form(image: bytes | None = None, mask: bytes | None = None, **fields: object) -> list[Part]:
    """Parts as clients send them."""
    files = {"image": image, "mask": mask}
    return [
        *(Part(name, None, "", str(value).encode()) for name, value in fields.items()),
        *(file(name, data) for name, data in files.items() if data is not None),
    ]


def file(name: str, data: bytes) -> Part:
    return Part(name, "upload", "application/octet-stream", data)


def asked(served: Served = SERVED, **body: Any) -> Call:
    """A generation, through JSON."""
    return generation(parse_body(json.dumps({"prompt": "a fox", **body}).encode()), served)


def edited(*parts: Part, served: Served = SERVED, **fields: Any) -> Call:
    return edit([*form(**{"prompt": "a fox", **fields}), *parts], served)


def varied(*parts: Part, **fields: Any) -> Call:
    return variation([*form(**fields), *parts], SERVED)


def refused(action: Callable[[], object], status: int = 400) -> dict[str, Any]:
    """The error object of a refused request."""
    with pytest.raises(ApiError) as error:
        action()
    assert error.value.status == status
    body = json.loads(json.dumps(error.value.body()))
    assert body.keys() == {"error"} and body["error"].keys() == KEYS
    assert "\n" not in body["error"]["message"]
    found: dict[str, Any] = body["error"]
    return found


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def drawn(seed: int = 7, side: int = 16, format: Any = "png") -> Drawn:
    return Drawn("0" * 31 + f"{seed % 16:x}", seed, side, side, (side, side), 99, format)


class Seeds(random.Random):
    """Always the same."""

    def randrange(self, *_: Any, **__: Any) -> int:
        return 1234
