"""A process that is killed at any moment loses nothing that it accepted, and ends no job twice."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from unclip.server.job import Drawn
from unclip.server.store import Store

WORK = """
import random, secrets, sys
from pathlib import Path
from unclip.server.job import Drawn, Spec
from unclip.server.store import Store

def say(*words):
    sys.stdout.write(" ".join(words) + "\\n")
    sys.stdout.flush()

store, rng = Store(Path(sys.argv[1]) / "data"), random.Random(int(sys.argv[2]))
say("started")
while True:
    image = store.put_input(str(rng.randrange(9)).encode())
    for _ in range(rng.randrange(3)):
        spec = Spec("vary", {}, {"image": image}, pictures=2, batch=rng.choice(["", "b"]))
        say("added", store.add(rng.choice("abc"), spec, 10**6).id)
    leased = store.lease(6)
    if leased and rng.random() < 0.1:
        store.release([job.id for job in leased], died=False)
        continue
    for job in leased:
        drawn = []
        for index in range(job.spec.pictures):
            one = Drawn(secrets.token_hex(16), index, 1, 1, (1, 1), 32)
            drawn.append((one, one.id.encode()))
        if store.finish(job.id, drawn) is not None:
            say("ended", job.id)
"""


def killed(folder: Path, rng: random.Random, seed: int) -> list[list[str]]:
    """What a process said until it was killed: in its work, or while it starts."""
    command = [sys.executable, "-c", WORK, str(folder), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = []
        if seed % 4 != 1:
            said = [process.stdout.readline() for _ in range(rng.randrange(5, 60))]
        time.sleep(rng.uniform(0.0, 0.02 if said else 1.0))
        process.send_signal(signal.SIGKILL)
        said += process.stdout.read().splitlines(keepends=True)
    return [line.split() for line in said if line.endswith("\n")]


def check(folder: Path, kills: int) -> None:
    rng = random.Random(kills)
    said = [words for seed in range(kills) for words in killed(folder, rng, seed)]
    added = {words[1] for words in said if words[0] == "added"}
    ended = Counter(words[1] for words in said if words[0] == "ended")
    assert len(added) > kills and len(ended) > kills, "the processes did too little to tell"
    assert set(ended.values()) == {1}
    store = Store(folder / "data", lambda: time.time() + 30 * 24 * 3600)
    jobs = {job.id: job for owner in "abc" for job in store.jobs(owner, limit=10**6)}
    assert added <= set(jobs)
    assert {jobs[id].state for id in ended} == {"done"}
    assert {job.state for job in jobs.values()} <= {"queued", "done"}
    rest = {id for id, job in jobs.items() if job.state == "queued"}
    drained: list[str] = []
    while leased := store.lease(6):
        drained += [job.id for job in leased if store.finish(job.id, [])]
    assert sorted(drained) == sorted(rest)
    store.prune(None, None)
    check_files(folder / "data", store)
    store.close()


def check_files(data: Path, store: Store) -> None:
    """Each picture has its whole file, each file its picture."""
    drawn: list[Drawn] = []
    for owner in "abc":
        for job in store.jobs(owner, limit=10**6):
            assert len(job.pictures) in (0, 2)
            drawn += job.pictures
    found = [store.picture(one.id) for one in drawn]
    assert [one.path.read_text() for one in found if one] == [one.id for one in drawn]
    assert len(list((data / "pictures").rglob("*.*"))) == len(drawn)
    read = {job.spec.inputs["image"] for owner in "abc" for job in store.jobs(owner, limit=10**6)}
    files = {path.name: path.read_bytes() for path in (data / "inputs").glob("*/*")}
    assert set(files) == read
    assert {hashlib.sha256(data).hexdigest() for data in files.values()} == read


def test_kills(tmp_path: Path) -> None:
    check(tmp_path, 3)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_kills(tmp_path: Path) -> None:
    check(tmp_path, 100)
