"""Capabilities, unknown words, and the caption that fits a picture."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest

import unclip
from unclip.server import routes_models

from .fakes import png
from .house import STRANGER, House, a_house, error_of


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One server for the file."""
    with a_house(tmp_path_factory.mktemp("house"), models=("tiny", "blind")) as made:
        blind = replace(made.engine.models[1], abilities=("generate",), words=())
        made.engine.models = (made.engine.models[0], blind)
        yield made


@pytest.fixture
def client(house: House) -> Iterator[httpx2.Client]:
    """With the first key."""
    with house.client() as made:
        yield made


def test_settings_and_words_are_told_for_each_model(client: httpx2.Client) -> None:
    told = client.get("/v1/capabilities").json()
    tiny, blind = told["models"]
    assert tiny["settings"]["decoder"]["steps"]["minimum"] == 1
    assert (tiny["size"], tiny["words"], blind["words"]) == ([64, 64], ["fox", "car"], [])
    assert (tiny["default"], blind["default"]) == (True, False)
    seed = told["abilities"]["generate"]["fields"]["properties"]["seed"]
    assert (seed["type"], seed["default"], seed["nullable"]) == ("integer", 0, False)
    prior = told["abilities"]["generate"]["fields"]["properties"]["prior"]
    assert (prior["type"], prior["nullable"]) == ("string", True)
    assert told["finish"]["quality"]["maximum"] == 100


@pytest.fixture
def bundled(house: House) -> Iterator[unclip.Pipeline]:
    """The server knows the bundled model's words."""
    pipe, kept = unclip.load(), house.engine.models
    words = tuple(pipe.vocabulary.counts)
    house.engine.models = (replace(kept[0], words=words), kept[1])
    yield pipe
    house.engine.models = kept


@pytest.mark.parametrize(
    "prompt",
    [
        *("a purpel foks next to a bicycel", "一只红色的怪物", "T恤 and (purpel:1.3) BREAK a dog"),
        *("a red car", "", "  ", "A RED Purpel-Elephant!"),
    ],
)
def test_unknown_words_are_those_of_the_commands_warning(
    client: httpx2.Client, bundled: unclip.Pipeline, prompt: str
) -> None:
    reply = client.post("/v1/words", json={"prompt": prompt})
    assert reply.status_code == 200
    unknown = reply.json()["unknown"]
    complaint = bundled.vocabulary.complaint(unclip.weighting.plain(prompt))
    assert bool(unknown) == bool(complaint)
    for one in unknown:
        assert f"'{one['word']}'" in complaint
        assert all(f"'{near}'" in complaint for near in one["near"])
    if "purpel f" in prompt:
        assert unknown[0] == {"word": "purpel", "near": ["purple"]}
    if prompt.startswith("一"):
        assert [one["word"] for one in unknown] == ["怪物"] or unknown


def test_a_model_that_lists_no_words_knows_all(client: httpx2.Client) -> None:
    body = {"prompt": "a purpel foks", "model": "blind"}
    assert client.post("/v1/words", json=body).json() == {"unknown": []}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": "(a:999)"}, "prompt"),
        ({"prompt": "a" * 10_001}, "prompt"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": "a", "model": "none"}, "model"),
        ({"prompt": "a", "more": 1}, "more"),
    ],
)
def test_what_is_no_prompt_is_refused(
    client: httpx2.Client, body: dict[str, Any], param: str
) -> None:
    reply = client.post("/v1/words", json=body)
    assert reply.status_code in (400, 404) and error_of(reply.content)["param"] == param


def test_many_unknown_words_of_a_large_vocabulary_are_answered_while_one_types(
    house: House, client: httpx2.Client
) -> None:
    kept = house.engine.models
    words = tuple(f"wort{number:x}{'lich' * (number % 3)}" for number in range(50_000))
    house.engine.models = (replace(kept[0], words=words), kept[1])
    try:
        began = time.process_time()  # the server is a thread of this process
        body = {"prompt": " ".join(f"unwort{number}" for number in range(600))}
        unknown = client.post("/v1/words", json=body).json()["unknown"]
        took = time.process_time() - began
    finally:
        house.engine.models = kept
    assert len(unknown) == 600 and unknown[0]["near"] and not unknown[-1]["near"]
    assert took < 3


@pytest.fixture(scope="module")
def picture(house: House) -> str:
    """An upload."""
    with house.client() as client:
        kind = {"content-type": "image/png"}
        reply = client.post("/v1/pictures", content=png((8, 8)), headers=kind)
    id: str = reply.json()["id"]
    return id


def test_captions_are_ranked_by_their_shares(client: httpx2.Client, picture: str) -> None:
    body = {"image": picture, "captions": ["a fox", "ein Füchslein 狐", "a car"]}
    reply = client.post("/v1/probe", json=body)
    assert reply.status_code == 200
    assert list(reply.json()["shares"].items()) == [  # as the fake worker has them
        ("a fox", 1 / 2),
        ("ein Füchslein 狐", 1 / 3),
        ("a car", 1 / 4),
    ]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"captions": ["one"]}, "captions"),
        ({"captions": []}, "captions"),
        ({"captions": ["a", "a"]}, "captions"),
        ({"captions": [f"{n}" for n in range(65)]}, "captions"),
        ({"captions": ["a", "b" * 10_001]}, "captions"),
        ({"captions": ["a", 3]}, "captions"),
        ({"image": "0" * 64}, "image"),
        ({"image": "../../etc/passwd"}, "image"),
        ({"model": "blind"}, "model"),
    ],
)
def test_what_cannot_be_probed_is_400(
    client: httpx2.Client, picture: str, more: dict[str, Any], param: str
) -> None:
    reply = client.post("/v1/probe", json={"image": picture, "captions": ["a", "b"], **more})
    assert reply.status_code == 400 and error_of(reply.content)["param"] == param


def test_anothers_picture_cannot_be_probed(client: httpx2.Client) -> None:
    asked = {"ability": "generate", "fields": {"prompt": "a fox"}}
    job = client.post("/v1/jobs", json=asked).json()["id"]
    client.get(f"/v1/jobs/{job}/events")
    drawn = client.get(f"/v1/jobs/{job}").json()["pictures"][0]["id"]
    body = {"image": drawn, "captions": ["a", "b"]}
    assert client.post("/v1/probe", json=body).status_code == 200
    assert client.post("/v1/probe", json=body, headers=STRANGER).status_code == 400


def test_what_the_worker_refuses_is_said(house: House, client: httpx2.Client, picture: str) -> None:
    house.worker.refuses = lambda asked: {"code": "usage", "message": "no text", "field": "labels"}
    try:
        reply = client.post("/v1/probe", json={"image": picture, "captions": ["a", "b"]})
    finally:
        house.worker.refuses = lambda asked: None
    assert (reply.status_code, error_of(reply.content)["message"]) == (400, "no text")


def test_a_dead_worker_and_too_many_that_wait_are_said(
    house: House, client: httpx2.Client, picture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes_models, "MOST_PROBES", 2)
    body, answers = {"image": picture, "captions": ["a", "b"]}, []
    (lane,) = house.engine.lanes
    house.loop.call_soon_threadsafe(house.worker.go.clear)

    def probe() -> None:
        with house.client() as other:
            answers.append(other.post("/v1/probe", json=body).status_code)

    threads = [threading.Thread(target=probe) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        while lane.asked < 2:
            time.sleep(0.01)
        reply = client.post("/v1/probe", json=body)
        assert reply.status_code == 429 and int(reply.headers["retry-after"]) >= 1

        async def die() -> None:
            assert lane._connection is not None
            lane._connection.kill()

        house.call(die)
        for thread in threads:
            thread.join(10)
        assert answers == [503, 503]
        assert client.post("/v1/probe", json=body).status_code in (200, 503)
    finally:
        house.loop.call_soon_threadsafe(house.worker.go.set)

    async def again() -> None:
        while not house.engine.lanes:
            await asyncio.sleep(0.01)

    house.call(again)
    assert client.post("/v1/probe", json=body).status_code == 200


def test_the_servers_process_needs_no_pytorch() -> None:
    code = (
        "import sys, unclip.server.run; from unclip.server.app import routed; routed().openapi();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
