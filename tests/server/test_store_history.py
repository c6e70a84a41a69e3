"""Retention removes what is old or too much, and nothing that somebody keeps or waits for."""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from unclip.server import history
from unclip.server.job import Drawn, Failure, Spec
from unclip.server.store import Pruned, Search, Store

HOUR, DAY = 3600.0, 24 * 3600.0


class Clock:
    """A time that tests move on."""

    def __init__(self) -> None:
        self.time = time.time()

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    store = Store(tmp_path / "data", clock)
    yield store
    store.close()


Draws = Callable[..., list[str]]


@pytest.fixture
def draw(store: Store) -> Draws:
    """`draw(*sizes)`: a job that has drawn pictures of so many bytes; their ids."""

    def made(*sizes: int, **spec: Any) -> list[str]:
        job = store.add("me", Spec("vary", {}, **spec), 1000)
        store.lease(1)
        drawn = [
            (Drawn(secrets.token_hex(16), 0, 1, 1, (1, 1), size), bytes(size)) for size in sizes
        ]
        assert store.finish(job.id, drawn)
        return [one.id for one, _ in drawn]

    return made


def left(store: Store) -> set[str]:
    return {one.drawn.id for one in store.pictures("me", limit=10**6)}


def names(folder: Path) -> set[str]:
    """Of the pictures' files."""
    return {path.stem for path in (folder / "data" / "pictures").glob("*/*")}


def test_jobs_go_by_age_and_living_ones_stay(
    store: Store, draw: Draws, clock: Clock, tmp_path: Path
) -> None:
    old = draw(5, 6)
    failed = store.add("me", Spec("vary", {}), 9)
    store.fail(failed.id, Failure("usage", "no"))
    running = store.add("me", Spec("vary", {}), 9)
    store.lease(1)
    clock.time += 2 * DAY
    new = draw(7)
    queued = store.add("me", Spec("vary", {}), 9)
    assert store.prune(3 * DAY, None) == Pruned(0, 0, 0, 18)
    assert store.prune(DAY, None) == Pruned(2, 2, 0, 7)
    assert left(store) == set(new) == names(tmp_path)
    assert store.picture(old[0]) is None and store.job(failed.id) is None
    assert {job.id for job in store.jobs("me")} >= {running.id, queued.id}
    assert store.counts() == {"queued": 1, "running": 1, "done": 1, "failed": 0, "cancelled": 0}


def test_the_oldest_jobs_go_until_the_rest_is_small_enough(
    store: Store, draw: Draws, clock: Clock, tmp_path: Path
) -> None:
    made = [draw(10, 10) for _ in range(6)]
    assert store.size() == 120
    assert store.prune(None, 120) == Pruned(0, 0, 0, 120)
    assert store.prune(None, 79) == Pruned(3, 6, 0, 60)
    assert left(store) == {id for ids in made[3:] for id in ids} == names(tmp_path)
    assert store.prune(None, 0) == Pruned(3, 6, 0, 0)


def test_marked_pictures_stay_with_their_job(
    store: Store, draw: Draws, clock: Clock, tmp_path: Path
) -> None:
    liked, tagged, collected, deleted = draw(1, 1), draw(1, 1), draw(1, 1), draw(1, 1)
    best = store.make_collection("me", "best")
    store.mark("me", [liked[0], deleted[0]], True)
    store.tag("me", [tagged[0]], ["t"])
    store.collect("me", best.id, [collected[0]])
    store.delete("me", [deleted[0]])
    kept = {liked[0], tagged[0], collected[0]}
    clock.time += 2 * DAY
    assert store.prune(DAY, 0) == Pruned(1, 5, 0, 3)
    assert left(store) == kept == names(tmp_path)
    assert store.prune(DAY, 0) == Pruned(0, 0, 0, 3)
    assert {one.job for one in store.pictures("me")} == {job.id for job in store.jobs("me")}
    store.mark("me", [liked[0]], False)
    assert store.prune(DAY, None) == Pruned(1, 1, 0, 2)


def test_a_deletion_can_be_undone_for_a_week(
    store: Store, draw: Draws, clock: Clock, tmp_path: Path
) -> None:
    a, b = draw(1, 1)
    store.delete("me", [a, b])
    clock.time += 6 * DAY
    assert store.prune(None, None) == Pruned(0, 0, 0, 2)
    assert store.restore("me", [a]) == [a] and left(store) == {a}
    clock.time += 2 * DAY
    assert store.prune(None, None) == Pruned(0, 1, 0, 1)
    assert store.restore("me", [b]) == [] and names(tmp_path) == {a}


def test_more_jobs_go_than_one_transaction_takes(
    store: Store, draw: Draws, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_BATCH", 5)
    keep = {draw(1)[0] for _ in range(3)}
    store.mark("me", list(keep), True)
    for _ in range(12):
        job = store.add("me", Spec("vary", {}), 1000)
        store.cancel(job.id)
    clock.time += DAY
    assert store.prune(HOUR, None) == Pruned(12, 0, 0, 3)
    assert left(store) == keep


def test_others_write_while_history_goes(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_BATCH", 2)
    for _ in range(40):
        store.cancel(store.add("me", Spec("vary", {}), 1000).id)
    clock.time += DAY
    thread = threading.Thread(target=store.prune, args=(HOUR, None))
    thread.start()
    between = 0
    while thread.is_alive():
        store.add("me", Spec("vary", {}), 10**6)
        between += 1
    thread.join()
    assert between > 2  # not one long transaction
    assert store.counts()["cancelled"] == 0 and store.counts()["queued"] == between


def test_inputs_stay_as_long_as_a_job_names_them(
    store: Store, draw: Draws, clock: Clock, tmp_path: Path
) -> None:
    shared, lone, unused = (store.put_input(data) for data in (b"shared", b"lone", b"unused"))
    draw(1, inputs={"image": shared, "mask": lone})
    clock.time += 2 * DAY
    store.add("me", Spec("vary", {}, inputs={"image": shared}), 9)
    assert store.size() == 1 + 6 + 4
    store.prune(None, None)
    there = [store.input_path(one).exists() for one in (shared, lone, unused)]
    assert there == [True, True, False]
    assert store.prune(DAY, None) == Pruned(1, 1, 1, 6)
    assert [store.input_path(one).exists() for one in (shared, lone)] == [True, False]


def test_an_input_that_is_brought_again_counts_as_new(store: Store, clock: Clock) -> None:
    digest = store.put_input(b"x")
    os.utime(store.input_path(digest), (1, 1))
    assert store.put_input(b"x") == digest
    store.prune(None, None)
    assert store.input_path(digest).exists()


def test_inputs_count_towards_the_size(store: Store, draw: Draws, clock: Clock) -> None:
    digest = store.put_input(bytes(100))
    first, second = draw(1, inputs={"image": digest}), draw(1)
    assert store.prune(None, 50) == Pruned(1, 1, 0, 1)
    assert left(store) == set(second) != set(first)
    clock.time += 2 * DAY
    store.prune(None, 50)
    assert not store.input_path(digest).exists()


def test_files_without_a_name_are_swept_and_those_of_others_are_not(
    store: Store, draw: Draws, clock: Clock, tmp_path: Path
) -> None:
    (id,) = draw(1)
    place = tmp_path / "data" / "pictures" / id[:2]
    lost = [place / f"{'0' * 32}.png", place / f"{id}.webp", place / f".{id}.png.0123abcd.part"]
    foreign = [place / "holiday.png", place.parent / "notes.txt", place / "README"]
    for path in lost + foreign:
        path.touch()
    store.prune(None, None)
    assert all(path.exists() for path in lost)  # their database may come back
    clock.time += 8 * DAY
    assert store.prune(None, None).files == 3
    assert not any(path.exists() for path in lost) and all(path.exists() for path in foreign)
    assert names(tmp_path) == {id, "holiday", "README"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_start_with_a_long_history_is_quick(tmp_path: Path) -> None:
    """Within 2 s on a quiet machine; the bound here leaves room for a busy one."""
    fill(tmp_path, 100_000)
    began = time.perf_counter()
    store = Store(tmp_path)
    assert store.counts() == {
        "queued": 0,
        "running": 0,
        "done": 100_000,
        "failed": 0,
        "cancelled": 0,
    }
    assert len(store.jobs("owner 1")) == 50 and len(store.pictures("owner 1")) == 50
    ready = time.perf_counter() - began
    assert len(store.pictures("owner 3", Search("fox 99991"))) == 1
    searched = time.perf_counter() - began - ready
    job = store.add("me", Spec("vary", {}), 9)
    assert [one.id for one in store.lease(4)] == [job.id]
    store.close()
    assert ready < 5 and searched < 5


def fill(folder: Path, count: int) -> None:
    """A database with so many jobs that are done, each with a picture."""
    store = Store(folder)
    spec = Spec("generate", {"prompt": "a red fox under a tree " * 4, "settings": {"steps": 20}})
    text = json.dumps(spec.to_json())
    numbers = range(1, count + 1)
    with store._db.write() as connection:
        connection.connection.executemany(  # type: ignore[attr-defined]
            "INSERT INTO jobs VALUES (?, ?, ?, 'done', 1, 2, ?, 0, 0, '', '', 1, '', ?, NULL)",
            ((number, f"{number:032x}", f"owner {number % 7}", number, text) for number in numbers),
        )
        connection.connection.executemany(  # type: ignore[attr-defined]
            "INSERT INTO pictures VALUES (?, ?, ?, ?, 2, 0, 8, 8, 8, 8, 9, 'png', ?, 0, 0)",
            (
                (number, f"{number:032x}", number, f"owner {number % 7}", f"a red fox {number}")
                for number in numbers
            ),
        )
    store.close()
