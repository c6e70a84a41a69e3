"""Requests made at random of the OpenAPI document: no 5xx, and errors of one form."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from .fakes import png
from .house import House, a_house, error_of

ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**70, 1e300, "", "x", "\u0000", "é" * 2000, "../x", "a\nb", 32 * "0"),
    *([], [1, "a"], {}, {"a": {"b": []}}, [[[[]]]], 64 * "f", "\U0001f98a", "1", "-1", "NaN"),
)
ROUNDS = 5


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Without keys, so that every route is reached."""
    with a_house(tmp_path_factory.mktemp("data"), keys=(), aliases={"gpt-image-1": ""}) as made:
        yield made


def resolved(one: Any, schemas: dict[str, Any], depth: int = 12) -> Any:
    """A part of the document, with what it refers to in place."""
    if isinstance(one, list):
        return [resolved(each, schemas, depth) for each in one]
    if not isinstance(one, dict):
        return one
    if "$ref" in one:
        name = one["$ref"].rpartition("/")[2]
        return resolved(schemas[name], schemas, depth - 1) if depth else {}
    return {key: resolved(each, schemas, depth) for key, each in one.items()}


def value(schema: dict[str, Any], rng: random.Random, odd: float) -> Any:
    """Something of a schema, or something odd, as often as `odd` says."""
    if rng.random() < odd:
        return rng.choice(ODD)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return value(rng.choice(schema[several]), rng, odd)
    if "enum" in schema:
        return rng.choice(schema["enum"])
    kind = schema.get("type")
    if kind == "object":
        return {
            name: value(one, rng, odd)
            for name, one in schema.get("properties", {}).items()
            if name in schema.get("required", ()) or rng.random() < odd + 0.05
        }
    if kind == "array":
        return [value(schema.get("items", {}), rng, odd) for _ in range(rng.randrange(4))]
    if kind == "integer":
        low, high = schema.get("minimum", -5), schema.get("maximum", 5)
        usual = schema.get("default", min(max(1, low), high))
        return usual if rng.random() < 0.6 else rng.choice([low, high, low - 1, high + 1])
    known = {"number": 1.5, "boolean": True, "null": None}
    return known.get(str(kind), rng.choice(["a fox", "tiny", "png"]))


def sendable(one: Any) -> str:
    return one if isinstance(one, str) else json.dumps(one)


def request_of(path: str, told: dict[str, Any], rng: random.Random) -> tuple[str, dict[str, Any]]:
    """A path, and what else a request has."""
    more: dict[str, Any] = {"params": {}}
    odd = rng.choice([0.02, 0.15])
    for one in told.get("parameters", ()):
        filled = sendable(value(one["schema"], rng, odd))
        if one["in"] == "path":
            safe = "".join(letter for letter in filled if letter.isalnum()) or "x"
            path = path.replace(f"{{{one['name']}}}", safe[:50])
        elif rng.random() < 0.5:
            more["params"][one["name"]] = filled
    body = told.get("requestBody", {}).get("content", {})
    if not body:
        return path, more
    kind = rng.choice(list(body))
    schema = body[kind]["schema"]
    if kind == "application/json":
        more["content"] = json.dumps(value(schema, rng, odd))
        more["headers"] = {"content-type": kind}
    elif kind == "multipart/form-data":
        made = value({**schema, "type": "object"}, rng, odd)
        fields = made if isinstance(made, dict) else {}
        picture = rng.choice([png((8, 8)), png((8, 8), (0, 0, 0, 0), "RGBA"), b"", b"x" * 99])
        files = {name: ("a.png", picture) for name in ("image", "mask", "file") if name in fields}
        more["files"] = files or {"other": ("a", b"")}
        more["data"] = {n: sendable(one) for n, one in fields.items() if n not in files}
    else:
        more["content"] = rng.choice([png((8, 8)), b"", b"GIF89a", bytes(500)])
        more["headers"] = {"content-type": kind}
    return path, more


def test_no_request_of_the_document_is_a_5xx(house: House) -> None:
    rng, seen = random.Random(20), set()
    with httpx2.Client(base_url=house.url, timeout=30) as client:
        document = client.get("/openapi.json").json()
        schemas = document.get("components", {}).get("schemas", {})
        for path, methods in document["paths"].items():
            for method, told in methods.items():
                asked = resolved({k: v for k, v in told.items() if k != "responses"}, schemas)
                for _ in range(ROUNDS * (25 if (path, method) == ("/v1/jobs", "post") else 1)):
                    where, more = request_of(path, asked, rng)
                    with client.stream(method.upper(), where, **more) as reply:
                        if "event-stream" not in reply.headers.get("content-type", ""):
                            reply.read()  # a stream of all that happens never ends
                    assert reply.status_code < 500, (method, where, more)
                    seen.add(reply.status_code)
                    if reply.status_code >= 400:
                        assert error_of(reply.content)["message"]
    assert {200, 202, 400, 404} <= seen and not seen & {409, 422}
