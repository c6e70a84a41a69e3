"""What OpenAI's clients get back: pictures, events of a stream, models."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Sequence
from typing import Any

from .call import Call
from .contracts import Served, asked_for
from .job import Drawn, Format

OWNER = "unclip"

_EVENTS = {"generation": "image_generation", "edit": "image_edit", "variation": "image_variation"}

_LOOKS = {"quality": "high", "background": "opaque"}
"""What every model here draws, whatever a client asks for."""


def usage() -> dict[str, Any]:
    """OpenAI's account of what is paid for, which nothing is here."""
    details = {"text_tokens": 0, "image_tokens": 0}
    counts = {"total_tokens": 0, "input_tokens": 0, "output_tokens": 0}
    return {**counts, "input_tokens_details": details}


def _sized(drawn: Drawn) -> str:
    return f"{drawn.width}x{drawn.height}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def reply(
    call: Call,
    pictures: Sequence[tuple[Drawn, bytes]],
    created: int,
    url_of: Callable[[Drawn], str],
) -> dict[str, Any]:
    """The answer, for JSON.

    Args:
        call: what was asked for.
        pictures: each with its file, which may be empty where addresses are asked for.
        created: seconds since 1970.
        url_of: a picture's address.
    """
    answer: dict[str, Any] = {
        "created": created,
        "data": [_datum(call, drawn, data, url_of) for drawn, data in pictures],
    }
    if call.contract.describes and pictures:
        first = pictures[0][0]
        answer |= {**_LOOKS, "size": _sized(first), "output_format": first.format, "usage": usage()}
    return answer


def _datum(call: Call, drawn: Drawn, data: bytes, url_of: Callable[[Drawn], str]) -> dict[str, Any]:
    is_url = call.response_format == "url"
    found: dict[str, Any] = {"url": url_of(drawn)} if is_url else {"b64_json": _base64(data)}
    if call.contract.revises and "prompt" in call.fields:
        found["revised_prompt"] = call.fields["prompt"]
    return {**found, "seed": drawn.seed}


def partial_event(
    call: Call, index: int, picture: bytes, created: int
) -> tuple[str, dict[str, Any]]:
    """The event of a preview: its name, and plain data for JSON.

    Args:
        index: of the preview, from 0.
        picture: a PNG.
    """
    width, height = struct.unpack(">II", picture[16:24])  # of its header
    more = {"partial_image_index": index}
    return _event(call, "partial_image", picture, f"{width}x{height}", "png", created, more)


def completed_event(
    call: Call, drawn: Drawn, picture: bytes, created: int
) -> tuple[str, dict[str, Any]]:
    """The event of a picture: its name, and plain data for JSON."""
    more = {"usage": usage(), "seed": drawn.seed}
    return _event(call, "completed", picture, _sized(drawn), drawn.format, created, more)


def _event(
    call: Call,
    what: str,
    picture: bytes,
    size: str,
    format: Format,
    created: int,
    more: dict[str, Any],
) -> tuple[str, dict[str, Any]]:
    name = f"{_EVENTS[call.kind]}.{what}"
    about = {"size": size, "output_format": format, "created_at": created}
    return name, {"type": name, "b64_json": _base64(picture), **about, **_LOOKS, **more}


def models_list(served: Served, created: int = 0) -> dict[str, Any]:
    """All that may be asked for."""
    return {"object": "list", "data": [_model(name, created) for name in served.names]}


def model_object(name: str, created: int, served: Served) -> dict[str, Any]:
    """One model. Raises ApiError 404 where none has that name."""
    return _model(asked_for(name, served).name, created)


def _model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": OWNER}
