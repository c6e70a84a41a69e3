"""Mixed traffic for long: memory and descriptors of server and worker stay flat."""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from .fakes import png
from .processes import Serving, descriptors, resident, sockets, until

KEYS = ("sk-one-0123456789abcdef", "sk-two-0123456789abcdef")
MINUTES = float(os.environ.get("UNCLIP_SOAK_MINUTES", "30"))
CLIENTS = 4
HOLED = png((64, 64), (9, 9, 9, 0), "RGBA")
PROMPT = {"prompt": "a fox"}
GENERATIONS = "/v1/images/generations"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are measured in /proc")

DELETING = threading.Lock()
"""Held from a picture's deletion to its return: clients with one key share their pictures."""

Visit = Callable[[httpx2.Client, random.Random], Any]


def draws(client: httpx2.Client, rng: random.Random) -> None:
    url = ok(client.post(GENERATIONS, json={**PROMPT, "n": rng.randint(1, 4)}))["data"][0]["url"]
    with DELETING:
        assert client.get(url).headers["content-type"] == "image/png"


def draws_in_base64(client: httpx2.Client, rng: random.Random) -> None:
    more = {"response_format": "b64_json", "size": "256x256"}
    assert ok(client.post(GENERATIONS, json={**PROMPT, **more}))["data"][0]["b64_json"]


def edits(client: httpx2.Client, rng: random.Random) -> None:
    ok(client.post("/v1/images/edits", files={"image": HOLED}, data=PROMPT))


def varies(client: httpx2.Client, rng: random.Random) -> None:
    colour = (rng.randrange(256),) * 3  # another file each time
    ok(client.post("/v1/images/variations", files={"image": png((64, 64), colour)}))


def streams(client: httpx2.Client, rng: random.Random) -> None:
    body = {**PROMPT, "stream": True, "partial_images": 3}
    with client.stream("POST", GENERATIONS, json=body) as reply:
        assert reply.status_code == 200
        for line in reply.iter_lines():
            if rng.random() < 0.1:
                return  # the client leaves
            assert '"error"' not in line


def leaves(client: httpx2.Client, rng: random.Random) -> None:
    with suppress(httpx2.TransportError):
        client.post(GENERATIONS, json=PROMPT, timeout=rng.uniform(0.001, 0.03))
    client.post(GENERATIONS, json=PROMPT, headers={"x-stainless-retry-count": "1"})


def follows_a_job(client: httpx2.Client, rng: random.Random) -> None:
    job = ok(client.post("/v1/jobs", json={"ability": "generate", "fields": PROMPT}))["id"]
    with client.stream("GET", f"/v1/jobs/{job}/events") as reply:
        for _ in reply.iter_lines():
            if rng.random() < 0.02:
                break
    if rng.random() < 0.3:
        ok(client.post(f"/v1/jobs/{job}/cancel"))
    ok(client.get(f"/v1/jobs/{job}"))


def looks_at_pictures(client: httpx2.Client, rng: random.Random) -> None:
    found = ok(client.get("/v1/pictures", params={"search": "fox", "limit": "5"}))["data"]
    for one in found[:1]:
        with DELETING:
            client.delete(f"/v1/pictures/{one['id']}")
            client.post(f"/v1/pictures/{one['id']}/restore")
    ids = [one["id"] for one in found[1:]]
    if ids:
        assert client.post("/v1/pictures/zip", json={"ids": ids}).status_code < 500


def uploads(client: httpx2.Client, rng: random.Random) -> None:
    ok(client.post("/v1/pictures", files={"file": ("a.png", png((32, 32)), "image/png")}))


def looks_around(client: httpx2.Client, rng: random.Random) -> None:
    for path in ("/v1/models", "/v1/capabilities", "/v1/jobs", "/metrics", "/healthz"):
        assert client.get(path).status_code == 200


def is_wrong(client: httpx2.Client, rng: random.Random) -> None:
    """What is refused."""
    stranger = {"authorization": "Bearer sk-nobody"}
    assert client.post(GENERATIONS, json=PROMPT, headers=stranger).status_code == 401
    for body in ({}, {**PROMPT, "n": 0}, {**PROMPT, "size": "1x1"}, {**PROMPT, "model": "no"}):
        assert client.post(GENERATIONS, json=body).status_code in (400, 404)
    assert client.post(GENERATIONS, content=b"{" * 1000).status_code == 400
    broken = {"image": b"\x89PNG" + bytes(3000)}
    assert client.post("/v1/images/variations", files=broken).status_code == 400


VISITS: tuple[Visit, ...] = (
    *(draws, draws_in_base64, edits, varies, streams, leaves, follows_a_job, looks_at_pictures),
    *(uploads, looks_around, is_wrong),
)


def ok(reply: httpx2.Response) -> Any:
    """What a good answer holds."""
    assert reply.status_code in (200, 201, 202), reply.text
    return reply.json()


class Traffic:
    """Clients that do all of it, in any order, until they are stopped."""

    def __init__(self, serving: Serving) -> None:
        self.serving, self.stopping = serving, threading.Event()
        self.counts: Counter[str] = Counter()
        self.failed: list[BaseException] = []
        self.threads = [threading.Thread(target=self._run, args=(i,)) for i in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def _run(self, number: int) -> None:
        rng = random.Random(number)
        headers = {"authorization": f"Bearer {KEYS[number % len(KEYS)]}"}
        try:
            while not self.stopping.is_set():
                with httpx2.Client(base_url=self.serving.url, headers=headers, timeout=60) as one:
                    for visit in rng.choices(VISITS, k=20):
                        visit(one, rng)
                        self.counts[visit.__name__] += 1
        except BaseException as error:  # noqa: BLE001 - told to the test
            self.failed.append(error)

    def stop(self) -> None:
        """Let each end what it does."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(90)


def measured(serving: Serving, traffic: Traffic, seconds: float) -> dict[str, list[float]]:
    """Memory and descriptors of the server and of its worker, once a second."""
    found: dict[str, list[float]] = {"server MB": [], "server fds": [], "worker MB": []}
    found["worker fds"] = []
    (worker,) = serving.workers()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not traffic.failed:
        for name, pid in (("server", serving.pid), ("worker", worker)):
            found[f"{name} MB"].append(resident(pid) / 2**20)
            found[f"{name} fds"].append(len(descriptors(pid)))
        time.sleep(1)
    return found


def check_flat(found: dict[str, list[float]]) -> None:
    """The last quarter of the time is as the second one, in the middle of each."""
    for name, values in found.items():
        quarter = len(values) // 4
        early = statistics.median(values[quarter : 2 * quarter])
        late = statistics.median(values[3 * quarter :])
        more = 10 + 0.05 * early if name.endswith("MB") else 10
        assert late <= early + more, f"{name} grew from {early:.0f} to {late:.0f}"


def soak(folder: Path, seconds: float) -> dict[str, list[float]]:
    serving = Serving(folder, *KEYS)
    try:
        until(serving.ready)
        before = sockets(serving.pid)
        traffic = Traffic(serving)
        try:
            found = measured(serving, traffic, seconds)
        finally:
            traffic.stop()
        tell(found, traffic.counts)
        if traffic.failed:
            log = (folder / "log").read_text(errors="replace").splitlines()
            told = [line for line in log if '"event": "request"' not in line]
            print("\n".join([*told[-60:], *log[-20:]]))  # noqa: T201
            raise traffic.failed[0]
        assert len(traffic.counts) == len(VISITS)
        until(lambda: sockets(serving.pid) <= before, 60, "connections are left open")
        assert serving.stop() == 0
    finally:
        serving.kill()
    return found


def tell(found: dict[str, list[float]], counts: Counter[str]) -> None:
    """For whoever reads the run's output."""
    for name, values in found.items():
        some = values[:: max(1, len(values) // 10)]
        print(f"{name}: {' '.join(f'{one:.0f}' for one in some)}")  # noqa: T201
    print(json.dumps({**counts, "all": sum(counts.values())}))  # noqa: T201


@pytest.mark.timeout(200)
def test_all_of_the_traffic_is_answered(tmp_path: Path) -> None:
    soak(tmp_path, 4)


@pytest.mark.slow
@pytest.mark.timeout(60 * MINUTES + 600)
def test_memory_and_descriptors_stay_flat(tmp_path: Path) -> None:
    check_flat(soak(tmp_path, 60 * MINUTES))
