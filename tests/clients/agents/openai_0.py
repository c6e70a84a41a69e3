"""Calls openai for Python 0.28 as lines of JSON say, and answers with lines of JSON.

Runs in an environment of that client: `python openai_0.py sync|async`. See `official.py`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from pathlib import Path
from typing import Any

import openai
from openai.error import OpenAIError

PICTURES = {"generate": "create", "edit": "create_edit", "variation": "create_variation"}


def main(mode: str) -> None:
    """Answer every line."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(mode == "async", json.loads(line))) + "\n")
        sys.stdout.flush()


def answer(is_async: bool, asked: dict[str, Any]) -> dict[str, Any]:
    """What came back, or the error that the client raised."""
    openai.api_key, openai.api_base = asked["key"] or "", asked["base"]
    try:
        found = function(is_async, asked["call"])(**arguments(asked))
        if is_async:
            found = asyncio.run(awaited(found))
    except OpenAIError as error:
        return {"error": explained(error)}
    except Exception:  # noqa: BLE001 - of this call alone
        return {"broken": traceback.format_exc()}
    headers = {"openai-processing-ms": str(found.response_ms)}
    return {"body": found.to_dict_recursive(), "headers": headers}


def function(is_async: bool, call: str) -> Any:
    """The client's."""
    owner = openai.Image if call in PICTURES else openai.Model
    name = PICTURES.get(call) or {"models": "list", "model": "retrieve"}[call]
    return getattr(owner, f"a{name}" if is_async else name)


def arguments(asked: dict[str, Any]) -> dict[str, Any]:
    """Its arguments, files opened."""
    if asked["call"] == "model":
        return {"id": asked["args"]["model"]}
    files = {name: opened(*one) for name, one in asked["files"].items()}
    return {**asked["args"], **asked["extra"], **files}


def opened(kind: str, path: str) -> Any:
    """A file in one of the ways that users give it."""
    return Path(path).read_bytes() if kind == "bytes" else Path(path).open("rb")


async def awaited(work: Any) -> Any:
    return await work


def explained(error: OpenAIError) -> dict[str, Any]:
    """What a program sees of an error."""
    body = json.loads(error.http_body or "{}")  # of a 503 it reads no JSON
    return {
        **body.get("error", {}),
        "class": type(error).__name__,
        "status": error.http_status,
        "text": str(error),
        "headers": {name.lower(): value for name, value in (error.headers or {}).items()},
    }


if __name__ == "__main__":
    main(sys.argv[1])
