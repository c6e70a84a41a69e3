"""The OpenAPI document: what is committed is what the server gives, and that is what it answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import openapi
import pytest

from unclip.server.app import routed

from .fakes import png
from .house import STRANGER, House, a_house
from .test_events import events

DOCUMENT = routed().openapi()
SCHEMAS = DOCUMENT["components"]["schemas"]


def test_the_pages_copy_is_what_the_server_gives() -> None:
    assert openapi.FILE.read_text(encoding="utf-8") == openapi.text()


def closed(schema: Any) -> Any:
    """The same, of which no object has a field that it does not name."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(one) for key, one in schema.items()}
    if isinstance(inner.get("properties"), dict) and "type" in inner:
        inner.setdefault("unevaluatedProperties", False)
    if "allOf" in inner:
        for one in inner["allOf"]:
            one.pop("unevaluatedProperties", None)
    return inner


def check(schema: dict[str, Any], value: Any) -> None:
    """Raise where a value is not of a schema of the document, or has more than it says."""
    strict = {name: closed(one) for name, one in SCHEMAS.items()}
    strict["Setting"].pop("unevaluatedProperties")  # a `StageSetting` has more
    whole = {**closed(schema), "components": {"schemas": strict}}
    whole["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    jsonschema_rs.validate(whole, value)


def template(path: str) -> str:
    """The document's path of an address."""
    parts = path.partition("?")[0].strip("/").split("/")
    for known in sorted(DOCUMENT["paths"], key=lambda one: one.count("{")):
        pattern = known.strip("/").split("/")
        pairs = zip(pattern, parts, strict=False)
        if len(pattern) == len(parts) and all(a == b or a.startswith("{") for a, b in pairs):
            return known
    raise AssertionError(path)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One server for the file."""
    with a_house(tmp_path_factory.mktemp("house")) as made:
        yield made


@pytest.fixture
def client(house: House) -> Iterator[httpx2.Client]:
    """With the first key; every answer is compared with the document."""

    def compare(answer: httpx2.Response) -> None:
        answer.read()
        method, path = answer.request.method.lower(), answer.request.url.path
        known = DOCUMENT["paths"][template(path)][method]["responses"]
        code = str(answer.status_code)
        content = known.get(code, known.get(f"{code[0]}XX"))["content"]
        kind = answer.headers["content-type"].partition(";")[0]
        assert kind in content, (path, kind)
        if kind == "application/json":
            schema = content[kind]["schema"]
            assert "$ref" in schema, f"{method} {path}: an answer without a name"
            check(schema, answer.json())

    with house.client(event_hooks={"response": [compare]}) as made:
        yield made


def ask(client: httpx2.Client, **body: Any) -> dict[str, Any]:
    """A job that has ended."""
    check(DOCUMENT["components"]["schemas"]["Ask"], {"ability": "generate", **body})
    job = client.post("/v1/jobs", json={"ability": "generate", **body}).json()
    client.get(f"/v1/jobs/{job['id']}/events")
    done: dict[str, Any] = client.get(f"/v1/jobs/{job['id']}").json()
    return done


def test_every_answer_is_as_the_document_says(house: House, client: httpx2.Client) -> None:
    job = ask(client, fields={"prompt": "a fox", "n": 2}, finish={"format": "webp"})
    one, two = (picture["id"] for picture in job["pictures"])
    shelf = client.post("/v1/collections", json={"name": "zoo"}).json()
    change = {"favourite": True, "add_tags": ["red"], "add_collections": [shelf["id"]]}
    client.patch(f"/v1/pictures/{one}", json=change)
    client.post("/v1/pictures", content=png((8, 8)), headers={"content-type": "image/png"})
    client.delete(f"/v1/pictures/{two}")
    gone = client.get("/v1/pictures?deleted=true").json()["data"]
    assert [picture["id"] for picture in gone] == [two]
    client.post(f"/v1/pictures/{two}/restore")
    client.post("/v1/pictures/zip", json={"ids": [one, two]})
    for path in (
        *("jobs", "pictures", "tags", "collections", "capabilities", "session", "models"),
        *(f"pictures/{one}", f"pictures/{one}/file", f"jobs/{job['id']}", "models/tiny"),
    ):
        assert client.get(f"/v1/{path}").status_code == 200, path
    for path in ("/healthz", "/readyz", "/metrics"):
        client.get(path)
    client.patch(f"/v1/collections/{shelf['id']}", json={"name": "ark"})
    client.delete(f"/v1/collections/{shelf['id']}")
    client.post(f"/v1/jobs/{job['id']}/cancel")
    client.post("/v1/words", json={"prompt": "a purpel fox"})
    client.post("/v1/probe", json={"image": one, "captions": ["a fox", "a car"]})
    body = {"prompt": "a fox", "size": "256x256", "n": 1}
    assert client.post("/v1/images/generations", json=body).status_code == 200
    for path in ("/v1/jobs/none", "/v1/jobs?limit=x"):
        assert client.get(path).status_code in (400, 404)
    assert client.get("/v1/jobs", headers={"authorization": "Bearer no"}).status_code == 401
    house.worker.fails = lambda spec: {"code": "memory", "message": "too large", "field": None}
    try:
        failed = ask(client, fields={"prompt": "a fox"})
    finally:
        house.worker.fails = lambda spec: None
    assert failed["failure"]["code"] == "memory"


def test_every_event_is_as_the_document_says(house: House) -> None:
    ends = {"done": {}, "failed": {"prompt": "a bad fox"}, "cancelled": {}}
    house.worker.fails = lambda spec: (
        {"code": "internal", "message": "no", "field": None}
        if "bad" in spec["fields"]["prompt"]
        else None
    )
    own, every, stranger = set(), set(), {**STRANGER}
    with house.client(headers=stranger) as client, client.stream("GET", "/v1/events") as stream:
        told = events(stream.iter_lines())
        for end, more in ends.items():
            if end == "cancelled":
                house.loop.call_soon_threadsafe(house.worker.go.clear)
            fields = {"prompt": "a fox", **more}
            body = {"ability": "generate", "fields": fields}
            job = client.post("/v1/jobs", json=body).json()["id"]
            if end == "cancelled":
                client.post(f"/v1/jobs/{job}/cancel")
                house.loop.call_soon_threadsafe(house.worker.go.set)
            for kind, data in told:
                check(SCHEMAS["Events"]["properties"][kind], data)
                every.add(kind)
                if kind == end:
                    break
            with client.stream("GET", f"/v1/jobs/{job}/events") as one:
                for kind, data in events(one.iter_lines()):
                    check(SCHEMAS["JobEvents"]["properties"][kind], data)
                    own.add(kind)
    house.worker.fails = lambda spec: None
    known = SCHEMAS["JobEvents"]["properties"].keys()
    assert known - {"queued", "step", "preview"} <= own <= known
    assert {"jobs", "job", "step", "preview", "started", *ends} <= every


def test_every_name_is_used_and_there(tmp_path: Path) -> None:
    text = json.dumps(DOCUMENT)
    for name in SCHEMAS:
        used = f'"#/components/schemas/{name}"' in text
        assert used, name
    for part in text.split('"#/components/schemas/')[1:]:
        assert part.partition('"')[0] in SCHEMAS
