"""The bodies of requests: JSON and forms, within limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from . import errors
from .context import serving
from .openai import Part, parse_body

JSON_BYTES = 2**20
"""Longest JSON without pictures."""
FIELD_BYTES = 2**20
"""Longest field of a form that is no file."""
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


def is_form(request: Request) -> bool:
    """Whether the body is a form."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() in FORMS


async def read_json(request: Request, most: int = JSON_BYTES) -> Mapping[str, Any]:
    """The body as JSON.

    Args:
        most: bytes of it.

    Raises:
        ApiError: it is longer, a form, or not valid.
    """
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise errors.invalid(None, "The body must be JSON (application/json), and is a form.")
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > most:
            raise errors.too_large(f"The JSON of a request has at most {most:,} bytes here.")
    return await run_in_threadpool(parse_body, bytes(data))


async def read_parts(request: Request) -> list[Part]:
    """The parts of a form, in their order. Raises ApiError where it is broken or has too many."""
    most = serving(request).options.form_parts
    try:
        form = await request.form(max_files=most, max_fields=most, max_part_size=FIELD_BYTES)
    except HTTPException as error:
        raise errors.invalid(None, f"The form cannot be read: {error.detail}") from None
    try:
        parts = [await _part(name, value) for name, value in form.multi_items()]
    finally:
        await form.close()
    if len(parts) > most:
        raise errors.invalid(None, f"The form has more than {most} parts.")
    return parts


async def _part(name: str, value: UploadFile | str) -> Part:
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        return Part(name=name, filename=None, content_type="text/plain", data=data)
    kind = value.content_type or "application/octet-stream"
    return Part(name=name, filename=value.filename, content_type=kind, data=await value.read())
