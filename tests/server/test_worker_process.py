"""A real worker in a process of its own: it draws, is killed, and comes back."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from unclip import Pipeline
from unclip.server.engine import Engine, EngineOptions
from unclip.server.job import Job
from unclip.server.launch import Subprocess, SubprocessLauncher
from unclip.server.refusals import NoWorker, Refused
from unclip.server.store import Store

from .conftest import FEW, spec

SLOW = {"settings": {**FEW, "steps": 200}}


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the worker too: its tensors are tiny."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


class Watched(SubprocessLauncher):
    """Remembers the processes that it starts."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Subprocess] = []

    async def __call__(self) -> Subprocess:
        self.all.append(await super().__call__())
        return self.all[-1]


def run(
    folder: Path,
    model: str,
    test: Callable[[Engine, Watched], Coroutine[Any, Any, None]],
    **options: Any,
) -> None:
    """A test with an engine whose worker is real."""

    async def within() -> None:
        store, launch = Store(folder), Watched()
        engine = Engine(store, EngineOptions({"tiny": model}, "cpu", "float32", **options), launch)
        try:
            await engine.start()
            await asyncio.wait_for(test(engine, launch), 100)
        finally:
            await engine.stop(finish_running=False)
            store.close()

    asyncio.run(within())


async def picture(engine: Engine, job: Job) -> Image.Image:
    """The first of a job."""
    ended = await engine.wait(job.id)
    assert ended is not None and ended.state == "done", ended
    return Image.open(io.BytesIO(await engine.read(ended.pictures[0])))


def test_a_worker_killed_while_it_draws_loses_nothing(
    tmp_path: Path, model: Path, pipe: Pipeline
) -> None:
    async def test(engine: Engine, launch: Watched) -> None:
        assert engine.models[0].size == (16, 16)
        slow = spec("a fox", 3)
        slow.fields["settings"] = SLOW["settings"]
        jobs = [await engine.submit("me", slow), await engine.submit("me", spec("a car", 4))]
        async for event in engine.events(jobs[0].id):
            if event.kind == "step" and event.data["stage"] == "decoder":
                break
        os.kill(launch.all[0].pid, signal.SIGKILL)
        drawn = await picture(engine, jobs[1])
        (alone,) = pipe.generate("a car", seed=4, **FEW)
        assert drawn.convert("RGB").tobytes() == alone.tobytes()
        assert (await picture(engine, jobs[0])).size == (16, 16)
        assert (engine.figures.deaths, len(launch.all)) == (1, 2)
        wrong = spec("a fox")
        wrong.fields["prior"] = "none such"
        with pytest.raises(Refused, match="none such"):
            await engine.submit("me", wrong)

    run(tmp_path, str(model), test)


def test_a_cancelled_job_makes_room_within_a_step(tmp_path: Path, model: Path) -> None:
    async def test(engine: Engine, launch: Watched) -> None:
        slow = spec("a fox", 3)
        slow.fields["settings"] = SLOW["settings"]
        job = await engine.submit("me", slow)
        async for event in engine.events(job.id):
            if event.kind == "step":
                break
        assert await engine.cancel(job.id)
        await picture(engine, await engine.submit("me", spec()))
        ended = engine.store.job(job.id)
        assert ended is not None and ended.state == "cancelled"

    run(tmp_path, str(model), test)


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    async def never(engine: Engine, launch: Watched) -> None:
        raise AssertionError

    with pytest.raises(NoWorker, match=r"^no model 'nowhere'"):
        run(tmp_path, "nowhere", never)


def test_the_number_of_workers_changes_no_picture(
    tmp_path: Path, model: Path, pipe: Pipeline
) -> None:
    async def test(engine: Engine, launch: Watched) -> None:
        jobs = [await engine.submit("me", spec("a fox", seed)) for seed in range(6)]
        drawn = [await picture(engine, job) for job in jobs]
        assert len(launch.all) == 2
        alone = pipe.generate("a fox", n=6, seed=0, **FEW)
        for one, other in zip(drawn, alone, strict=True):
            far = ImageChops.difference(one.convert("RGB"), other).getextrema()
            assert max(high for _, high in far) <= 1

    run(tmp_path, str(model), test, workers=2, batch=2)
