"""Calls openai for Python, 1.0 or later, as lines of JSON say, and answers with lines of JSON.

Runs in an environment of that client: `python openai_1.py sync|async`. See `official.py`.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import sys
import traceback
from pathlib import Path
from typing import Any

import openai
from openai._types import Omit

VERSION = "2024-02-01"
"""Of Azure's API."""


def main(mode: str) -> None:
    """Answer every line, in one event loop."""
    with asyncio.Runner() as loop:
        for line in sys.stdin:
            told = loop.run(answer(mode == "async", json.loads(line)))
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()


async def answer(is_async: bool, asked: dict[str, Any]) -> dict[str, Any]:
    """What came back, or the error that the client raised."""
    client = made(is_async, asked)
    try:
        return await called(client, asked)
    except openai.APIError as error:
        return {"error": explained(error)}
    except Exception:  # noqa: BLE001 - of this call alone
        return {"broken": traceback.format_exc()}
    finally:
        await settled(client.close())


def made(is_async: bool, asked: dict[str, Any]) -> Any:
    """A client."""
    kinds = openai.AzureOpenAI, openai.AsyncAzureOpenAI, openai.OpenAI, openai.AsyncOpenAI
    azure = bool(asked["azure"])
    kind = kinds[2 * (not azure) + is_async]
    options: dict[str, Any] = {"api_key": asked["key"] or "none", "max_retries": 0, "timeout": 100}
    if azure:
        return kind(azure_endpoint=asked["azure"], api_version=VERSION, **options)
    return kind(base_url=asked["base"], **options)


async def called(client: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Call it, and show what it gives."""
    call, raw = asked["call"], asked["raw"]
    if call == "models":
        return {"body": json.loads((await settled(client.models.list())).model_dump_json())}
    if call == "model":
        found = await settled(client.models.retrieve(asked["args"]["model"]))
        return {"body": found.model_dump()}
    images = client.images.with_raw_response if raw else client.images
    function = images.create_variation if call == "variation" else getattr(images, call)
    files = {name: opened(*one) for name, one in asked["files"].items()}
    more: dict[str, Any] = {"extra_body": asked["extra"] or None}
    if asked["key"] is None:
        more["extra_headers"] = {"Authorization": Omit()}
    found = await settled(function(**asked["args"], **files, **more))
    if asked["args"].get("stream"):
        return {"body": {"events": [one.model_dump() async for one in each(found)]}}
    if raw:
        headers = {name.lower(): value for name, value in found.headers.items()}
        return {"body": (await settled(found.parse())).model_dump(), "headers": headers}
    return {"body": found.model_dump()}


async def settled(found: Any) -> Any:
    """Awaited where it has to be."""
    return await found if inspect.isawaitable(found) else found


async def each(stream: Any) -> Any:
    """The events of a stream of either kind."""
    if hasattr(stream, "__aiter__"):
        async for one in stream:
            yield one
    else:
        for one in stream:
            yield one


class Pipe(io.RawIOBase):
    """A file whose length nobody knows, so that it has to be sent in chunks."""

    def __init__(self, data: bytes) -> None:
        self._left = data

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        taken = self._left if size < 0 else self._left[:size]
        self._left = self._left[len(taken) :]
        return taken


def opened(kind: str, path: str) -> Any:
    """A file in one of the ways that users give it."""
    file = Path(path)
    ways = {
        "bytes": file.read_bytes,
        "path": lambda: file,
        "file": lambda: file.open("rb"),
        "tuple": lambda: (file.name, file.read_bytes(), "image/png"),
        "list": lambda: [file.read_bytes()],
        "pipe": lambda: Pipe(file.read_bytes()),
    }
    return ways[kind]()


def explained(error: openai.APIError) -> dict[str, Any]:
    """What a program sees of an error."""
    body, response = getattr(error, "body", None), getattr(error, "response", None)
    if body is None and response is not None:  # before 1.4
        body = response.json()["error"]
    headers = response.headers.items() if response is not None else ()
    return {
        **(body if isinstance(body, dict) else {}),
        **{name: getattr(error, name, None) for name in ("code", "param", "type")},
        "class": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "text": str(error),
        "headers": {name.lower(): value for name, value in headers},
    }


if __name__ == "__main__":
    main(sys.argv[1])
