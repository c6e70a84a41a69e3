"""The bodies of requests: JSON and forms, within limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from . import errors
from .context import serving
from .openai import Part, parse_body

JSON_BYTES = 2**20
"""Longest JSON without pictures."""
FIELD_BYTES = 2**20
"""Longest field of a form that is no file."""
LONGEST_BOUNDARY = 70
"""By RFC 2046."""
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


def kind_of(request: Request) -> str:
    """What the body is said to be, such as "application/json"."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def is_form(request: Request) -> bool:
    """Whether the body is a form."""
    return kind_of(request) in FORMS


async def read_json(request: Request, most: int = JSON_BYTES) -> Mapping[str, Any]:
    """The body as JSON.

    Args:
        most: bytes of it.

    Raises:
        ApiError: it is longer, a form, or not valid.
    """
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise errors.invalid(None, "The body must be JSON (application/json), and is a form.")
    return await run_in_threadpool(parse_body, await _whole(request, most))


async def _whole(request: Request, most: int) -> bytes:
    """A body without files. Raises ApiError where it is longer."""
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > most:
            raise errors.too_large(f"A body without files has at most {most:,} bytes here.")
    return bytes(data)


async def read_parts(request: Request) -> list[Part]:
    """The parts of a form, in their order. Raises ApiError where it is broken or has too many."""
    kind, parameters = parse_options_header(request.headers.get("content-type", ""))
    most = serving(request).options.form_parts
    if kind == b"application/x-www-form-urlencoded":
        return _pairs(await _whole(request, JSON_BYTES), most)
    boundary = parameters.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 1 <= len(boundary) <= LONGEST_BOUNDARY:
        raise errors.invalid(None, "The body must be a form (multipart/form-data; boundary=…).")
    form = _Form(boundary, most)
    try:
        async for piece in request.stream():
            form.write(piece)
    except FormParserError as error:
        raise errors.invalid(None, f"The form cannot be read: {error}.") from None
    if not form.whole:
        raise errors.invalid(None, "The form cannot be read: its last boundary is missing.")
    return form.parts


def _pairs(data: bytes, most: int) -> list[Part]:
    """The fields of a form without files."""
    try:
        pairs = parse_qsl(data.decode("ascii"), keep_blank_values=True, max_num_fields=most)
    except ValueError:
        message = f"The form cannot be read: it has more than {most} fields, or is not ASCII."
        raise errors.invalid(None, message) from None
    return [Part(name, None, "text/plain", value.encode()) for name, value in pairs]


class _Form:
    """Parts of a multipart body, in memory, which `Limits` bounds; nothing is left on a disk."""

    def __init__(self, boundary: bytes, most: int) -> None:
        self.parts: list[Part] = []
        self.whole, self._most = False, most
        self._begin()
        calls = ("part_begin", "part_end", "header_end", "headers_finished", "end")
        data = ("part_data", "header_field", "header_value")
        known = {f"on_{name}": getattr(self, f"_{name}") for name in (*calls, *data)}
        self._parser = MultipartParser(boundary, known)  # type: ignore[arg-type]

    def write(self, data: bytes) -> None:
        """More of the body. Raises FormParserError, and ApiError for too many parts."""
        self._parser.write(data)

    def _begin(self) -> None:
        self._data, self._field, self._value = bytearray(), bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}

    def _part_begin(self) -> None:
        if len(self.parts) >= self._most:
            raise errors.invalid(None, f"Too many parts: a form has at most {self._most}.")
        self._begin()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[bytes(self._field).lower()] = bytes(self._value)
        self._field, self._value = bytearray(), bytearray()

    def _headers_finished(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if kind != b"form-data" or b"name" not in options:
            raise errors.invalid(None, "The form cannot be read: a part of it has no name.")
        self._name = _text(options[b"name"])
        self._filename = _text(options[b"filename"]) if b"filename" in options else None

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]
        if self._filename is None and len(self._data) > FIELD_BYTES:
            message = f"A field of a form that is no file has at most {FIELD_BYTES:,} bytes."
            raise errors.invalid(self._name[:100], message)

    def _part_end(self) -> None:
        kind = _text(self._headers.get(b"content-type", b"application/octet-stream"))
        self.parts.append(Part(self._name, self._filename, kind, bytes(self._data)))

    def _end(self) -> None:
        self.whole = True


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
