"""`unclip serve` beside the same model in a process of its own: overhead, throughput, a full queue.

    .venv/bin/python benchmarks/serve.py [--repeat 20] [--rounds 3] [--requests 1000] [--busy]

There are four limits: at most 30 ms more than `pipe.generate` for one request at a time; at least
.9 of the pictures per second of full batches (`pipe.run_many`), with 16 clients that each ask again
as soon as they have an answer; every one of 1,000 requests that come at once is answered, each with
its own seed; and a full queue is told within 50 ms (the 99th percentile) while pictures are drawn.

Both processes have the model loaded, and only one of them draws at a time: their runs alternate.
Pictures have the model's own size, and are answered in base64. `--requests` are of one step.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from _machine import add_options, quiet, spread

from unclip.cli._process import SOON

CLIENTS = 16
PROMPTS = ("a red car", "a fox", "a pizza", "a blue house")
SIZE = "256x256"
SHORT = {"steps": 1}
"""Of the requests that only have to be answered."""
OFFLINE = """
import json, sys, time
import unclip
from unclip.abilities.generate import GenerateRequest
pipe = unclip.load(dtype=json.loads(sys.argv[1]))
pipe.generate("a red car", seed=7)
print("ready", flush=True)
for line in sys.stdin:
    asked = [GenerateRequest.of(**one) for one in json.loads(line)]
    begun = time.perf_counter()
    pipe.run_many(asked) if len(asked) > 1 else pipe.run(asked[0])
    print(time.perf_counter() - begun, flush=True)
"""


class Offline:
    """The model in a process of its own."""

    def __init__(self, dtype: str | None, environment: dict[str, str]) -> None:
        pipe = subprocess.PIPE
        line = [sys.executable, "-c", OFFLINE, json.dumps(dtype)]
        self._process = subprocess.Popen(line, stdin=pipe, stdout=pipe, text=True, env=environment)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        if not self._from.readline():
            raise SystemExit("the model cannot be loaded; see the output above")

    def seconds(self, asked: Sequence[dict[str, Any]]) -> float:
        """Of drawing requests together."""
        self._to.write(json.dumps(list(asked)) + "\n")
        self._to.flush()
        return float(self._from.readline())

    def close(self) -> None:
        """End it."""
        self._to.close()
        self._process.wait()
        self._from.close()


class Server:
    """A running `unclip serve`."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
        """Status and answer, over a connection of its own."""
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=3600)) as wire:
            wire.request(method, path, json.dumps(body) if body is not None else None)
            answer = wire.getresponse()
            return answer.status, answer.read()

    def json(self, path: str) -> Any:
        """What is there."""
        return json.loads(self.ask("GET", path)[1])

    def draw(self, seed: int, **more: Any) -> tuple[int, bytes]:
        """A picture of the model's own size."""
        body = {**request(seed), "size": SIZE, "response_format": "b64_json", **more}
        return self.ask("POST", "/v1/images/generations", body)

    def checked(self, seed: int, **more: Any) -> float:
        """Seconds of a request, whose answer has to be that of its seed."""
        begun = time.perf_counter()
        status, answer = self.draw(seed, **more)
        took = time.perf_counter() - begun
        if status != 200 or json.loads(answer)["data"][0]["seed"] != seed:
            raise SystemExit(f"request {seed} was answered {status}: {answer[:300]!r}")
        return took


def request(seed: int) -> dict[str, Any]:
    """A prompt, which differs from seed to seed."""
    return {"prompt": PROMPTS[seed % len(PROMPTS)], "seed": seed}


@contextmanager
def serving(dtype: str | None, queued: int, environment: dict[str, str]) -> Iterator[Server]:
    """`unclip serve` on a free port, with a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "unclip.cli", "serve", "--port", "0", "--data", folder]
        line += ["--most-queued", str(queued), *(["--dtype", dtype] if dtype else [])]
        log = Path(folder) / "log"
        with log.open("w") as file:
            process = subprocess.Popen(line, stdout=file, stderr=file, env=environment)
        try:
            yield Server(_port(process, log))
        finally:
            process.terminate()
            process.terminate()  # at once: what waits need not be drawn
            process.wait()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    while process.poll() is None:
        if found := re.search(r" at http://[^ ]*:(\d+)/v1", log.read_text()):
            return int(found[1])
        time.sleep(0.05)
    raise SystemExit(f"the server did not start: {log.read_text()}")


def together(work: Callable[[int], float], seeds: Sequence[int], clients: int) -> list[float]:
    """What `work` gives for every seed, with so many clients at once."""
    with ThreadPoolExecutor(clients) as threads:
        return list(threads.map(work, seeds))


def bar(what: str, value: float, limit: float, unit: str, least: bool = False) -> str:
    """One line for a limit."""
    kept = value >= limit if least else value <= limit
    word = "at least" if least else "at most"
    return f"  {what}: {value:.2f} {unit}, {word} {limit:g}: {'kept' if kept else 'NOT KEPT'}"


def share(values: Sequence[float], part: float) -> float:
    """The value below which this part of them is."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def one_by_one(server: Server, offline: Offline, repeat: int) -> None:
    """Print what a request takes more than the same picture without a server."""
    server.checked(0), offline.seconds([request(0)])
    ours, alone = [], []
    for seed in range(1, repeat + 1):
        alone.append(offline.seconds([request(seed)]))
        ours.append(server.checked(seed))
    print(f"One request at a time, {repeat} times")
    print(f"  a request      {spread([1000 * one for one in ours])} ms")
    print(f"  pipe.generate  {spread([1000 * one for one in alone])} ms")
    print(f"  ratio          {statistics.median(ours) / statistics.median(alone):.3f}")
    more = [1000 * (one - other) for one, other in zip(ours, alone, strict=True)]
    print(bar("overhead", statistics.median(more), 30, "ms"))


def many_clients(server: Server, offline: Offline, rounds: int) -> None:
    """Print pictures per second with many clients, beside full batches without a server."""
    each, rates, alone, waits, before = 8 * CLIENTS, [], [], [], _batches(server)
    for index in range(rounds):
        seeds = range(1000 * (index + 1), 1000 * (index + 1) + each)
        parts = [seeds[start : start + CLIENTS] for start in range(0, each, CLIENTS)]
        spent = sum(offline.seconds([request(seed) for seed in part]) for part in parts)
        alone.append(each / spent)
        begun = time.perf_counter()
        waits += together(server.checked, seeds, CLIENTS)
        rates.append(each / (time.perf_counter() - begun))
    print(f"\n{CLIENTS} clients, {rounds} rounds of {each} pictures")
    print(f"  the server     {spread(rates)} pictures/s")
    print(f"  full batches   {spread(alone)} pictures/s")
    ratio = [one / other for one, other in zip(rates, alone, strict=True)]
    print(bar("ratio", statistics.median(ratio), 0.9, "of them", least=True))
    batches, pictures = (new - old for new, old in zip(_batches(server), before, strict=True))
    print(f"  a batch        {pictures / batches:.1f} pictures")
    for name, values in (("to the answer", waits), ("in the queue", _waits(server, len(waits)))):
        print(f"  {name:<14} p50 {share(values, 0.5):.2f} s, p99 {share(values, 0.99):.2f} s")


def _waits(server: Server, count: int) -> list[float]:
    """Seconds in the queue of the last jobs."""
    jobs = server.json("/v1/jobs?state=done&limit=200")["data"][:count]
    return [one["started"] - one["created"] for one in jobs]


def _batches(server: Server) -> tuple[float, float]:
    """How many batches there were so far, and pictures in them."""
    said = server.ask("GET", "/metrics")[1].decode()
    found = re.findall(r"^unclip_batch_pictures_(count|sum) (\S+)$", said, re.MULTILINE)
    counts = {name: float(value) for name, value in found}
    return counts["count"], counts["sum"]


def all_at_once(server: Server, requests: int) -> None:
    """Print how many requests are answered that come together."""
    begun = time.perf_counter()
    waits = together(lambda seed: server.checked(seed, **SHORT), range(requests), requests)
    took = time.perf_counter() - begun
    print(f"\n{requests:,} requests at once, of one step")
    print(
        f"  all answered, each with its own seed, in {took:.1f} s ({requests / took:.1f} a second)"
    )
    print(f"  to the answer  p50 {share(waits, 0.5):.2f} s, p99 {share(waits, 0.99):.2f} s")


def when_full(server: Server, repeat: int) -> None:
    """Fill the queue, and print how soon that is told."""
    job = {"ability": "generate", "fields": {"prompt": "a red car", "n": 16}}
    filled = 0
    while (status := server.ask("POST", "/v1/jobs", job)[0]) == 202:
        filled += 1
    refusals = []
    for seed in range(repeat):
        begun = time.perf_counter()
        status, answer = server.draw(seed)
        if status == 429:
            refusals.append(1000 * (time.perf_counter() - begun))
        else:
            raise SystemExit(f"a full queue answered {status}: {answer[:300]!r}")
        while server.ask("POST", "/v1/jobs", job)[0] == 202:
            filled += 1
    print(f"\nA full queue ({filled:,} jobs), while pictures are drawn, {repeat} times")
    print(f"  p50 {share(refusals, 0.5):.1f} ms")
    print(bar("p99", share(refusals, 0.99), 50, "ms"))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=20, help="requests one by one")
    parser.add_argument("--rounds", type=int, default=3, help=f"of {CLIENTS} clients")
    parser.add_argument("--requests", type=int, default=1000, help="that come at once")
    parser.add_argument("--threads", type=int, help="OMP_NUM_THREADS (default: number of cores)")
    parser.add_argument("--dtype", help="number format (default: the fast one of this machine)")
    add_options(parser)
    given = parser.parse_args(arguments)
    environment = {**SOON, **os.environ, "UNCLIP_CONFIG": ""}  # as the command waits
    if given.threads:
        environment["OMP_NUM_THREADS"] = str(given.threads)
    with (
        quiet(given.threads or os.cpu_count() or 1, given.busy),
        closing(Offline(given.dtype, environment)) as offline,
        serving(given.dtype, max(1, given.requests), environment) as server,
    ):
        one_by_one(server, offline, given.repeat)
        many_clients(server, offline, given.rounds)
        all_at_once(server, given.requests)
        when_full(server, 10 * given.repeat)


if __name__ == "__main__":
    main()
