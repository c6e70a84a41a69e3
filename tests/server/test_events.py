"""/v1/events: one stream of all own jobs and pictures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from unclip.server import feed, sse

from .house import STRANGER, House, a_house, error_of


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One server for the file; each test asks for jobs of its own."""
    with a_house(tmp_path_factory.mktemp("house")) as made:
        yield made


@pytest.fixture
def client(house: House) -> Iterator[httpx2.Client]:
    """With the first key."""
    with house.client() as made:
        yield made


Told = tuple[str, dict[str, Any]]


@contextmanager
def following(house: House, query: str = "", **headers: str) -> Iterator[Iterator[Told]]:
    """(kind, data) as they come."""
    with house.client(headers=headers) as one, one.stream("GET", f"/v1/events{query}") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events(answer.iter_lines())


def events(lines: Iterator[str]) -> Iterator[Told]:
    """Of the lines of a stream."""
    kind = ""
    for line in lines:
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def until(told: Iterator[Told], kind: str, job: str) -> list[Told]:
    """Up to an event of a job."""
    found: list[Told] = []
    while not found or found[-1][0] != kind or found[-1][1].get("job") != job:
        found.append(next(told))
    return found


def ask(client: httpx2.Client, seed: int = 0, **headers: str) -> dict[str, Any]:
    """A job."""
    fields = {"prompt": "a fox", "seed": seed}
    reply = client.post("/v1/jobs", json={"ability": "generate", "fields": fields}, headers=headers)
    assert reply.status_code == 202, reply.text
    job: dict[str, Any] = reply.json()
    return job


def test_one_stream_tells_of_every_job_from_its_making_to_its_end(
    house: House, client: httpx2.Client
) -> None:
    with following(house) as told:
        kind, first = next(told)
        assert kind == "jobs" and first["missed"] is False
        jobs = [ask(client, seed) for seed in (1, 2)]
        for job in jobs:
            heard = until(told, "done", job["id"])
            own = [(kind, data) for kind, data in heard if data.get("job") == job["id"]]
            whole = [data["job"] for kind, data in heard if kind == "job"]
            mine = [one for one in whole if one["id"] == job["id"]]
            if job is jobs[0]:
                assert mine[0].keys() == job.keys() and heard[0][0] == "job"
                assert {"started", "done"} <= {kind for kind, _ in own}
                assert "preview" in {kind for kind, _ in heard}
            assert mine[-1]["state"] == "done" and mine[-1]["pictures"][0]["url"]
            assert own[-1][1]["pictures"] == [mine[-1]["pictures"][0]["id"]]


def test_it_begins_with_what_runs_waits_and_has_just_ended(
    house: House, client: httpx2.Client
) -> None:
    ended = ask(client, 3)["id"]
    with following(house) as told:
        _, first = next(told)
        if ended not in {one["id"] for one in first["jobs"] if one["state"] == "done"}:
            until(told, "done", ended)
    house.loop.call_soon_threadsafe(house.worker.go.clear)
    try:
        alive = [ask(client, seed)["id"] for seed in (4, 5)]
        with following(house) as told:
            _, first = next(told)
            states = {one["id"]: one["state"] for one in first["jobs"]}
            assert states[ended] == "done" and states[alive[1]] == "queued"
            assert states[alive[0]] in ("queued", "running")
            client.post(f"/v1/jobs/{alive[1]}/cancel")
            heard = until(told, "cancelled", alive[1])
            assert [d["job"]["state"] for k, d in heard if k == "job"] == ["cancelled"]
            house.loop.call_soon_threadsafe(house.worker.go.set)
            until(told, "done", alive[0])
    finally:
        house.loop.call_soon_threadsafe(house.worker.go.set)


def test_another_owners_jobs_are_never_told_of(house: House, client: httpx2.Client) -> None:
    with following(house, **STRANGER) as told:
        assert next(told) == ("jobs", {"jobs": [], "missed": False})
        mine = ask(client, 6)
        with following(house) as own:
            until(own, "done", mine["id"]) if _alive(next(own), mine["id"]) else None
        theirs = ask(client, 7, **STRANGER)
        heard = until(told, "done", theirs["id"])
    assert mine["id"] not in json.dumps(heard)


def _alive(first: Told, job: str) -> bool:
    return job not in {one["id"] for one in first[1]["jobs"] if one["state"] == "done"}


def test_previews_are_made_and_told_where_they_are_wanted(
    house: House, client: httpx2.Client
) -> None:
    with following(house, "?previews=false") as told:
        next(told)
        job = ask(client, 8)["id"]
        assert "preview" not in {kind for kind, _ in until(told, "done", job)}
    assert job not in house.worker.watched
    house.loop.call_soon_threadsafe(house.worker.go.clear)
    running = ask(client, 9)["id"]
    while client.get(f"/v1/jobs/{running}").json()["state"] != "running":
        pass
    with following(house) as told:
        next(told)
        house.loop.call_soon_threadsafe(house.worker.go.set)
        assert "preview" in {kind for kind, _ in until(told, "done", running)}
    assert running in house.worker.watched
    reply = client.get("/v1/events?previews=some")
    assert reply.status_code == 400 and error_of(reply.content)["param"] == "previews"


def test_a_picture_that_another_tab_changes_is_told_of(house: House, client: httpx2.Client) -> None:
    with following(house) as told:
        next(told)
        job = ask(client, 10)["id"]
        (picture,) = until(told, "done", job)[-1][1]["pictures"]
        client.patch(f"/v1/pictures/{picture}", json={"favourite": True})
        client.delete(f"/v1/pictures/{picture}")
        client.post(f"/v1/pictures/{picture}/restore")
        for change in ("changed", "deleted", "restored"):
            assert next(told) == ("pictures", {"ids": [picture], "change": change})


def test_a_job_of_before_a_restart_is_told_of_when_it_is_cancelled(
    house: House, client: httpx2.Client
) -> None:
    house.loop.call_soon_threadsafe(house.worker.go.clear)
    try:
        ask(client, 11)
        waiting = ask(client, 12)["id"]
        house.engine._live.pop(waiting)  # as after a restart
        with following(house) as told:
            next(told)
            client.post(f"/v1/jobs/{waiting}/cancel")
            until(told, "cancelled", waiting)
    finally:
        house.loop.call_soon_threadsafe(house.worker.go.set)


def test_one_who_missed_something_is_told_all_anew(
    house: House, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MOST", 0)
    with following(house) as told:
        next(told)
        ask(client, 13)
        kind, data = next(told)
        assert kind == "jobs" and data["missed"] and data["jobs"]


def test_silence_has_a_sign_of_life_and_the_end_of_the_server_ends_it(house: House) -> None:
    async def silent() -> list[bytes]:
        async with house.engine.following("nobody", False) as followed:

            async def never() -> Any:
                yield b"first"
                await followed.next()

            stopped, found = asyncio.Event(), []
            async for one in sse.beating(never(), stopped, 0.01):
                found.append(one)
                if len(found) == 3:
                    stopped.set()
            return found

    assert house.call(silent) == [b"first", b": waiting\n\n", b": waiting\n\n"]
    assert all(one.owner != "nobody" for one in house.engine.feeds._feeds)


def test_it_needs_a_key(house: House) -> None:
    assert house.raw("GET", "/v1/events", {"host": "localhost"}).status == 401
