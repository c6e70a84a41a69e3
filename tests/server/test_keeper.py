"""What the disk cannot take reaches its clients, and is kept as soon as there is room."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from unclip.errors import OutputError
from unclip.server import keeper
from unclip.server.engine import Engine
from unclip.server.job import Spec
from unclip.server.store import Store

from .conftest import spec
from .test_engine import Workers, drawn, run


def full(*_: Any) -> Any:
    raise OutputError("the disk is full")


def test_pictures_that_cannot_be_kept_still_reach_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(engine: Engine, workers: Workers) -> None:
        monkeypatch.setattr(engine.store, "finish", full)
        assert await drawn(engine, await engine.submit("me", spec("a fox"))) == b"a fox"

    run(tmp_path, test)


def test_what_could_not_be_kept_is_when_the_disk_has_room_and_is_not_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.server.keeper.AGAIN", 0.05)
    monkeypatch.setattr("unclip.server.keeper.HELD", 2)

    async def test(engine: Engine, workers: Workers) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(engine.store, "finish", full)
            patch.setattr(engine.store, "fail", full)
            jobs = [await engine.submit("me", spec(f"a fox {n}")) for n in range(3)]
            last = [await drawn(engine, one) for one in jobs][-1]
            await asyncio.sleep(0.12)
            assert engine.store.counts()["running"] == 3
        while engine.store.counts()["running"]:
            await asyncio.sleep(0.01)
        first, *others = (engine.store.job(one.id) for one in jobs)
        assert first is not None and first.failure is not None  # it was too long ago
        assert first.failure.code == "not_kept"
        assert [one.state for one in others if one] == ["done", "done"]
        assert await drawn(engine, jobs[-1]) == last

    run(tmp_path, test)


def test_what_could_not_be_kept_is_tried_once_more_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids: list[str] = []

    async def test(engine: Engine, workers: Workers) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(engine.store, "finish", full)
            ids.append((await engine.submit("me", spec("a fox"))).id)
            assert await engine.wait(ids[0])

    run(tmp_path, test)
    with closing(Store(tmp_path)) as store:
        kept = store.job(ids[0])
        assert kept is not None and kept.state == "done" and len(kept.pictures) == 1


def test_a_failure_that_cannot_be_kept_still_reaches_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(engine: Engine, workers: Workers) -> None:
        monkeypatch.setattr(engine.store, "fail", full)
        workers.at_once = False
        job = await engine.submit("me", spec("a fox"))
        await workers.drawing.wait()
        failure = {"code": "usage", "message": "no", "field": None}
        workers.all[0].tell({"kind": "failed", "id": job.id, "failure": failure})
        workers.all[0].tell({"kind": "idle"})
        ended = await engine.wait(job.id)
        assert ended is not None and ended.failure is not None and ended.failure.message == "no"
        workers.at_once = True
        assert await drawn(engine, await engine.submit("me", spec("next"))) == b"next"
        assert engine.figures.deaths == 0

    run(tmp_path, test)


def read_only(store: Store, patch: pytest.MonkeyPatch) -> None:
    """From now on nothing can be written."""
    for name in ("add", "lease", "finish", "fail", "cancel", "release", "put_input"):
        patch.setattr(store, name, full)


def test_what_may_be_drawn_from_memory_is_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(engine: Engine, workers: Workers) -> None:
        read_only(engine.store, monkeypatch)
        with pytest.raises(OutputError, match="full"):
            await engine.submit("me", spec("a fox"))
        workers.at_once = False
        asked = [await engine.submit("me", spec("0"), loose=True)]
        await workers.drawing.wait()
        asked += [await engine.submit("me", spec(f"{n}"), loose=True) for n in range(1, 4)]
        other = await engine.submit("me", Spec("vary", {"prompt": "apart"}), loose=True)
        assert await engine.cancel(asked[3].id) and not await engine.cancel(asked[2].id, "you")
        workers.at_once = True
        workers.all[0].finish()
        assert [await drawn(engine, one) for one in asked[:3]] == [b"0", b"1", b"2"]
        assert await drawn(engine, other) == b"apart"
        assert workers.batches == [["0"], ["1", "2"], ["apart"]]
        assert not engine.keeper.is_kept(other.id)
        assert "drawn from memory" in caplog.text

    run(tmp_path, test)


def test_a_dead_workers_jobs_in_memory_run_again_and_the_second_death_fails_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.server.lane.SHORT", 0.02)

    async def test(engine: Engine, workers: Workers) -> None:
        read_only(engine.store, monkeypatch)
        workers.at_once = False
        job = await engine.submit("me", spec("a fox"), loose=True)
        for death in range(2):
            await workers.drawing.wait()
            workers.drawing.clear()
            workers.all[death].kill()
        ended = await engine.wait(job.id)
        assert ended is not None and ended.failure is not None
        assert ended.failure.code == "worker_died" and len(workers.batches) == 2

    run(tmp_path, test)


def test_few_wait_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "HELD", 3)

    async def test(engine: Engine, workers: Workers) -> None:
        read_only(engine.store, monkeypatch)
        workers.at_once = False
        for n in range(3):
            await engine.submit("me", spec(f"{n}"), loose=True)
        with pytest.raises(OutputError, match="full"):
            await engine.submit("me", spec("one more"), loose=True)
        with pytest.raises(OutputError, match="full"):  # its picture cannot be stored
            await engine.submit("me", spec("edit"), {"image": b"png"}, loose=True)

    run(tmp_path, test)
