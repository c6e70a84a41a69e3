"""What users of other queues reported. Each test is named after the report: project and number.

A long history that slows the start (InvokeAI 8861) is in `test_store_history.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from unclip.server.job import Job, Spec
from unclip.server.store import Store
from unclip.server.tables import jobs


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "data")
    yield store
    store.close()


def add(store: Store, owner: str = "me") -> Job:
    return store.add(owner, Spec("generate", {"prompt": "a fox"}), 100)


def drawn_next(store: Store) -> str:
    """The one job that is leased."""
    (job,) = store.lease(1)
    return job.id


def test_a_restart_draws_again_what_ran_and_cancels_nothing_invokeai(tmp_path: Path) -> None:
    store = Store(tmp_path)
    ran, waited = add(store), add(store)
    assert drawn_next(store) == ran.id
    store.close()
    store = Store(tmp_path)
    assert [drawn_next(store), drawn_next(store)] == [ran.id, waited.id]
    assert store.counts()["cancelled"] == 0
    store.close()


def test_a_poisoned_job_stops_no_start_invokeai_6333(tmp_path: Path) -> None:
    store = Store(tmp_path)
    poison, other = add(store), add(store)
    for _ in range(2):
        assert drawn_next(store) == poison.id
        store.release([poison.id], died=True)  # its worker died of it
    store.close()
    store = Store(tmp_path)
    assert drawn_next(store) == other.id
    failed = store.job(poison.id)
    assert failed is not None and failed.state == "failed" and failed.failure is not None
    store.close()


def test_a_job_that_another_version_wrote_stops_nobody_invokeai_6333(store: Store) -> None:
    alien, other = add(store), add(store)
    with store._db.write() as connection:
        newer = {**alien.spec.to_json(), "newer": 1}
        connection.execute(update(jobs).where(jobs.c.id == alien.id).values(spec=newer))
    leased = [*store.lease(16), *store.lease(16)]
    assert {one.id: one.spec == other.spec for one in leased} == {alien.id: False, other.id: True}
    assert len(store.jobs("me")) == 2


def test_the_queue_outlives_the_server_comfyui_2844_swarmui_935(tmp_path: Path) -> None:
    store = Store(tmp_path)
    waiting = [add(store).id for _ in range(5)]
    store.close()
    store = Store(tmp_path)
    assert [drawn_next(store) for _ in waiting] == waiting
    store.close()


def test_nobody_cancels_anothers_job_swarmui_781(store: Store) -> None:
    mine, other = add(store), add(store, "other")
    assert not store.cancel(other.id, "me") and store.cancel(mine.id, "me")
    assert [store.counts()[state] for state in ("queued", "cancelled")] == [1, 1]
    assert drawn_next(store) == other.id


def test_who_asks_for_much_keeps_nobody_waiting_swarmui_1192(store: Store) -> None:
    many = [add(store, "greedy").id for _ in range(20)]
    one = add(store, "other").id
    assert {drawn_next(store), drawn_next(store)} == {many[0], one}


def test_a_job_whose_worker_was_killed_is_not_lost_huey(store: Store) -> None:
    job = add(store)
    assert drawn_next(store) == job.id
    running = store.job(job.id)
    assert running is not None and running.state == "running"  # its row stays while it is drawn
    store.release([job.id], died=True)
    assert drawn_next(store) == job.id
