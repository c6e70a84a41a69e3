"""Server and worker are killed under load: nothing accepted is lost, nothing answered twice."""

from __future__ import annotations

import base64
import io
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from unclip.server.options import Key
from unclip.server.store import Store

from .fakes import grey
from .processes import Serving, until

KEYS = ("sk-one-0123456789abcdef", "sk-two-0123456789abcdef")
CLIENTS = 6
SETTLED = 4 * CLIENTS
"""Answers after which no job is left of those that the last kill of a worker hit."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")


class Load:
    """Clients that ask without a pause, and ask again as OpenAI's do, until they are answered."""

    def __init__(self, serving: Serving) -> None:
        self.serving, self.stopping = serving, threading.Event()
        self.answers: Counter[str] = Counter()  # of each prompt
        self.accepted: list[tuple[str, str]] = []  # key and id of jobs
        self.failed: list[BaseException] = []
        self.threads = [threading.Thread(target=self._run, args=(i,)) for i in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    @property
    def count(self) -> int:
        """How many answers there are."""
        return sum(self.answers.values())

    def stop(self) -> None:
        """Wait until each client has its last answer."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(120)
            assert not thread.is_alive(), "a client waits for ever"
        if self.failed:
            raise self.failed[0]

    def _run(self, number: int) -> None:
        key = KEYS[number % len(KEYS)]
        headers, seed = {"authorization": f"Bearer {key}"}, 0
        try:
            with httpx2.Client(base_url=self.serving.url, headers=headers, timeout=30) as client:
                while not self.stopping.is_set():
                    seed += 1
                    self._ask(client, f"a fox, {number}-{seed}", seed)
                    self._queue(client, key, seed)
        except BaseException as error:  # noqa: BLE001 - told to the test
            self.failed.append(error)

    def _ask(self, client: httpx2.Client, prompt: str, seed: int) -> None:
        """A generation, repeated until it is answered."""
        body = {"prompt": prompt, "size": "256x256", "seed": seed, "response_format": "b64_json"}
        for retry in range(10_000):
            headers = {"x-stainless-retry-count": str(retry)}
            with suppress(httpx2.TransportError):
                reply = client.post("/v1/images/generations", json=body, headers=headers)
                if reply.status_code == 200:
                    check(reply.json()["data"], seed)
                    self.answers[prompt] += 1
                    return
                assert reply.status_code == 503, reply.text  # it starts
            time.sleep(0.05)
        raise AssertionError(prompt)

    def _queue(self, client: httpx2.Client, key: str, seed: int) -> None:
        """A job that nobody waits for."""
        body = {"ability": "generate", "fields": {"prompt": "a job", "seed": seed, "n": 2}}
        with suppress(httpx2.TransportError):
            reply = client.post("/v1/jobs", json=body)
            assert reply.status_code in (202, 503), reply.text
            if reply.status_code == 202:
                self.accepted.append((key, reply.json()["id"]))


def check(data: list[dict[str, Any]], seed: int) -> None:
    """The picture is that of its request."""
    (one,) = data
    with Image.open(io.BytesIO(base64.b64decode(one["b64_json"]))) as picture:
        assert picture.convert("RGB").getpixel((9, 9)) == grey(seed)


@contextmanager
def loaded(folder: Path) -> Iterator[tuple[Serving, Load]]:
    """A server under load, which is stopped in good order."""
    serving = Serving(folder, *KEYS)
    try:
        until(serving.ready)
        load = Load(serving)
        try:
            yield serving, load
        finally:
            load.stop()
        code = serving.stop()
        assert code == 0, (folder / "log").read_text()[-2000:]
    finally:
        serving.kill()


def kill(serving: Serving, load: Load, rng: random.Random) -> None:
    """Kill the worker while it draws, or the server: then, or while it starts."""
    before = load.count
    if rng.random() < 0.5:
        until(lambda: load.count >= before + SETTLED or load.failed, 90, "nothing is answered")
        time.sleep(rng.uniform(0, 0.2))
        until(serving.kill_worker, 60, "there is no worker")
        return
    if rng.random() < 0.7:
        until(lambda: load.count > before or load.failed, 90, "nothing is answered")
    time.sleep(rng.uniform(0, 0.5))
    serving.kill()
    serving.start()


def check_kills(folder: Path, kills: int) -> None:
    rng = random.Random(kills)
    with loaded(folder) as (serving, load):
        for _ in range(kills):
            kill(serving, load, rng)
            if load.failed:
                break
    assert len(load.answers) > 2 * kills and set(load.answers.values()) == {1}
    with closing(Store(folder / "data")) as store:
        ended = drain(store)
    assert {job for _, job in load.accepted} <= ended.keys()
    asked = Counter(prompt for prompt in ended.values() if prompt != "a job")
    assert asked == load.answers, "a request was drawn twice, or was answered without a job"


def drain(store: Store) -> dict[str, str]:
    """Draw what waits. Returns the prompt of each job; all are done, with their pictures."""
    while leased := store.lease(1):
        store.finish(leased[0].id, [])
    owners = [Key.of(key).owner for key in KEYS]
    jobs = [job for owner in owners for job in store.jobs(owner, limit=10**6)]
    assert {job.state for job in jobs} == {"done"}, [job for job in jobs if job.state != "done"]
    assert all(len(job.pictures) in (0, job.spec.pictures) for job in jobs)
    return {job.id: job.spec.fields["prompt"] for job in jobs}


@pytest.mark.timeout(300)
def test_a_few_kills_lose_nothing(tmp_path: Path) -> None:
    check_kills(tmp_path, 4)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    check_kills(tmp_path, 100)
