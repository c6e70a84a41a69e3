"""The engine gives jobs to its worker in batches, and nothing that it has accepted is lost."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from unclip.server.engine import Engine, EngineOptions
from unclip.server.events import SHOWN, Logs
from unclip.server.job import Event, Job, Spec
from unclip.server.protocol import Message
from unclip.server.refusals import Draining, NoWorker, Refused
from unclip.server.store import QueueFull, Store

from .conftest import spec

INFO = {"name": "tiny", "size": [16, 16], "abilities": ["generate"]}
Test = Callable[[Engine, "Workers"], Coroutine[Any, Any, None]]


class Fake:
    """A worker that draws what `Workers` lets it draw."""

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self.to_server: asyncio.Queue[Message | None] = asyncio.Queue()
        self.heard: list[Message] = []
        self.dead = False

    async def send(self, message: Message) -> None:
        if self.dead:
            raise BrokenPipeError
        self.heard.append(message)
        if message["kind"] == "begin":
            self.tell(self.workers.greeting)
        elif message["kind"] == "check":
            failure = self.workers.refusal
            self.tell({"kind": "checked", "number": message["number"], "failure": failure})
        elif message["kind"] == "draw":
            self.workers.batches.append(
                [one["spec"]["fields"]["prompt"] for one in message["jobs"]]
            )
            self.workers.drawing.set()
            if self.workers.at_once:
                self.finish(message["jobs"])
        elif message["kind"] == "cancel" and self.workers.obeys:
            self.tell({"kind": "cancelled", "id": message["id"]})
            self.tell({"kind": "idle"})

    def tell(self, message: Message) -> None:
        self.to_server.put_nowait(message)

    def finish(self, jobs: list[Message] | None = None) -> None:
        """End the last batch."""
        jobs = jobs or [one for one in self.heard if one["kind"] == "draw"][-1]["jobs"]
        for job in jobs:
            self.tell({"kind": "step", "id": job["id"], "stage": "decoder", "share": 1.0})
            words = base64.b64encode(job["spec"]["fields"]["prompt"].encode()).decode()
            one = {"seed": 1, "width": 16, "height": 16, "native": [16, 16], "bytes": 5}
            self.tell({"kind": "done", "id": job["id"], "pictures": [{**one, "data": words}]})
        self.tell({"kind": "idle"})

    def prompts(self) -> list[str]:
        """Of the last batch."""
        given = [one["jobs"] for one in self.heard if one["kind"] == "draw"]
        return [job["spec"]["fields"]["prompt"] for job in given[-1]] if given else []

    async def receive(self) -> Message | None:
        return await self.to_server.get()

    async def close(self, patience: float) -> None:
        self.kill()

    def kill(self) -> None:
        self.dead = True
        self.to_server.put_nowait(None)


class Workers:
    """Launches fake workers, and says what they do."""

    def __init__(self) -> None:
        self.all: list[Fake] = []
        self.batches: list[list[str]] = []
        self.drawing = asyncio.Event()
        self.at_once, self.obeys, self.refusal = True, True, None
        self.greeting: Message = {"kind": "ready", "models": [INFO]}

    async def __call__(self) -> Fake:
        self.all.append(Fake(self))
        return self.all[-1]


def run(folder: Path, test: Test, launch: Workers | None = None, **options: Any) -> None:
    """A test with an engine that runs."""
    workers = launch or Workers()

    async def within() -> None:
        store = Store(folder)
        engine = Engine(store, EngineOptions({"tiny": "tiny"}, **options), workers)
        await engine.start()
        try:
            await asyncio.wait_for(test(engine, workers), 60)
        finally:
            await engine.stop(finish_running=False)
            store.close()

    asyncio.run(within())


async def heard(events: AsyncIterator[Event]) -> list[str]:
    return [event.kind async for event in events]


async def drawn(engine: Engine, job: Job) -> bytes:
    """The bytes of its picture, when it is done."""
    ended = await engine.wait(job.id)
    assert ended is not None and ended.state == "done", ended
    return await engine.read(ended.pictures[0])


def test_a_job_is_drawn_and_its_events_are_told_in_order(tmp_path: Path) -> None:
    async def test(engine: Engine, workers: Workers) -> None:
        job = await engine.submit("me", spec("a fox"))
        assert await drawn(engine, job) == b"a fox"
        every = [event async for event in engine.events(job.id)]
        assert [one.kind for one in every] == ["queued", "started", "step", "done"]
        assert [one.number for one in every] == sorted(one.number for one in every)
        later = await heard(engine.events(job.id, after=every[1].number))
        assert later == ["step", "done"]

    run(tmp_path, test)


def test_jobs_that_wait_share_a_batch(tmp_path: Path) -> None:
    async def test(engine: Engine, workers: Workers) -> None:
        workers.at_once = False
        first = await engine.submit("me", spec("first"))
        await workers.drawing.wait()
        rest = [await engine.submit(f"{n}", spec(f"{n}", n=2)) for n in range(10)]
        workers.at_once = True
        workers.all[0].finish()
        for job in (first, *rest):
            await drawn(engine, job)
        assert [len(one) for one in workers.batches] == [1, 8, 2]
        assert list(engine.figures.batches) == [1, 16, 4]

    run(tmp_path, test)


def test_exact_batches_hold_one_job(tmp_path: Path) -> None:
    async def test(engine: Engine, workers: Workers) -> None:
        for job in [await engine.submit("me", spec(f"{n}")) for n in range(3)]:
            await drawn(engine, job)
        assert [len(one) for one in workers.batches] == [1, 1, 1]

    run(tmp_path, test, exact=True)


def test_a_dead_workers_jobs_run_again_and_the_second_death_fails_them(tmp_path: Path) -> None:
    async def test(engine: Engine, workers: Workers) -> None:
        workers.at_once = False
        poison, other = [await engine.submit("me", spec(one)) for one in ("poison", "other")]
        for _ in range(2):
            await workers.drawing.wait()
            workers.drawing.clear()
            workers.all[-1].kill()
        failed = await engine.wait(poison.id)
        assert failed is not None and failed.state == "failed" and failed.failure is not None
        assert failed.failure.code == "worker_died"
        workers.at_once = True
        if workers.drawing.is_set():
            workers.all[-1].finish()
        assert await drawn(engine, other) == b"other"
        assert engine.figures.deaths == 2

    run(tmp_path, test)


def test_an_answer_has_its_picture_though_its_owner_deletes_it_meanwhile(tmp_path: Path) -> None:
    async def test(engine: Engine, workers: Workers) -> None:
        ended = await engine.wait((await engine.submit("me", spec("a fox"))).id)
        assert ended is not None
        (picture,) = ended.pictures
        assert engine.store.delete("me", [picture.id]) == [picture.id]
        assert engine.store.picture(picture.id) is None
        assert await engine.read(picture) == b"a fox"

    run(tmp_path, test)


def test_what_waited_when_the_server_was_killed_is_drawn_after_its_start(tmp_path: Path) -> None:
    jobs: list[str] = []

    async def accept(engine: Engine, workers: Workers) -> None:
        workers.at_once = False
        jobs.extend([(await engine.submit("me", spec(f"{n}"))).id for n in range(3)])
        await workers.drawing.wait()

    async def draw(engine: Engine, workers: Workers) -> None:
        for n, job in enumerate(jobs):
            ended = await engine.wait(job)
            assert ended is not None and ended.state == "done"
            assert await engine.read(ended.pictures[0]) == f"{n}".encode()
        assert sorted(chain.from_iterable(workers.batches)) == ["0", "1", "2"]

    run(tmp_path, accept)
    run(tmp_path, draw)


def test_a_job_that_nobody_waits_for_is_cancelled_after_a_while(tmp_path: Path) -> None:
    async def test(engine: Engine, workers: Workers) -> None:
        workers.at_once = False
        left, kept = [
            await engine.submit("me", spec(one), kept=k) for one, k in (("a", 0), ("b", 1))
        ]
        for job in (left, kept):
            with engine.attending(job.id):
                await workers.drawing.wait()
        gone = await engine.wait(left.id)
        assert gone is not None and gone.state == "cancelled"
        assert {"kind": "cancel", "id": left.id} in workers.all[0].heard
        stays = engine.store.job(kept.id)
        assert stays is not None and stays.state in ("running", "queued")

    run(tmp_path, test, patience=0.05)


def test_a_client_that_comes_back_in_time_finds_its_job(tmp_path: Path) -> None:
    async def test(engine: Engine, workers: Workers) -> None:
        workers.at_once = False
        job = await engine.submit("me", spec(), fingerprint="f")
        with engine.attending(job.id):
            await workers.drawing.wait()
        again = await engine.submit("me", spec(), fingerprint="f", join=True)
        assert again.id == job.id
        with engine.attending(again.id):
            await asyncio.sleep(0.4)
            workers.all[0].finish()
            assert await drawn(engine, again) == b"a fox"
        other = await engine.submit("me", spec(), fingerprint="f")
        stranger = await engine.submit("you", spec(), fingerprint="f", join=True)
        assert len({job.id, other.id, stranger.id}) == 3

    run(tmp_path, test, patience=0.2)


def test_a_full_queue_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    async def test(engine: Engine, workers: Workers) -> None:
        workers.at_once = False
        first = await engine.submit("me", spec("first"))
        await workers.drawing.wait()
        taken = [await engine.submit("me", spec(f"{n}")) for n in range(3)]
        with pytest.raises(QueueFull):
            await engine.submit("me", spec("too many"))
        workers.at_once = True
        workers.all[0].finish()
        for job in (first, *taken):
            await drawn(engine, job)

    run(tmp_path, test, queued=3)


def test_what_the_model_cannot_draw_is_refused_before_it_waits(tmp_path: Path) -> None:
    async def test(engine: Engine, workers: Workers) -> None:
        workers.refusal = {"code": "usage", "message": "no such prior", "field": "prior"}  # type: ignore[assignment]
        with pytest.raises(Refused, match="no such prior") as caught:
            await engine.submit("me", spec())
        assert caught.value.failure.field == "prior"
        assert sum(engine.store.counts().values()) == 0

    run(tmp_path, test)


def test_stopping_finishes_what_runs_and_keeps_what_waits(tmp_path: Path) -> None:
    jobs: list[str] = []

    async def test(engine: Engine, workers: Workers) -> None:
        workers.at_once = False
        first = await engine.submit("me", spec("first"))
        await workers.drawing.wait()
        second = await engine.submit("me", Spec("vary", {"prompt": "second"}))
        stopping = asyncio.create_task(engine.stop())
        await asyncio.sleep(0.05)
        assert not engine.ready and not stopping.done()
        with pytest.raises(Draining):
            await engine.submit("me", spec())
        workers.all[0].finish()
        await stopping
        states = [engine.store.job(one.id) for one in (first, second)]
        assert [one.state for one in states if one] == ["done", "queued"]
        assert workers.batches == [["first"]]
        jobs.append(second.id)

    async def after(engine: Engine, workers: Workers) -> None:
        ended = await engine.wait(jobs[0])
        assert ended is not None and ended.state == "done"

    run(tmp_path, test)
    run(tmp_path, after)


@pytest.mark.parametrize("where", ["launch", "release", "lease", "paths"])
def test_trouble_beside_a_worker_stops_no_lane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Such as no process to be had, or a full disk: what is asked then is drawn when it is over."""
    monkeypatch.setattr("unclip.server.lane.LOOKING", 0.02)
    monkeypatch.setattr("unclip.server.lane.SHORT", 0.02)
    left = ["trouble"] * 2

    async def test(engine: Engine, workers: Workers) -> None:
        def troubled(do: Callable[..., Any]) -> Callable[..., Any]:
            def often(*given: Any) -> Any:
                if left:
                    raise OSError(left.pop())
                return do(*given)

            return often

        workers.at_once = False
        job = await engine.submit("me", spec("a fox"))
        await workers.drawing.wait()
        for lane in engine._lanes if where == "launch" else ():
            monkeypatch.setattr(lane, "_launch", troubled(lane._launch))
        if where in ("release", "lease"):
            monkeypatch.setattr(engine.store, where, troubled(getattr(engine.store, where)))
        workers.at_once = True
        workers.all[0].kill()
        assert await drawn(engine, job) == b"a fox"
        if where == "paths":
            left[1:] = []  # two deaths would fail it
            monkeypatch.setattr(engine._lanes[0]._desk, "paths", troubled(engine.paths))
            job = engine.store.add("me", spec("next"), 1)
            assert await drawn(engine, job) == b"next"
        assert not left

    run(tmp_path, test)


def test_what_is_cancelled_while_it_is_taken_is_not_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(engine: Engine, workers: Workers) -> None:
        lease, loop = engine.store.lease, asyncio.get_running_loop()

        def slowly(most: int) -> list[Job]:
            for job in (taken := lease(most)):
                if job.spec.fields["prompt"] == "first":
                    asyncio.run_coroutine_threadsafe(engine.cancel(job.id), loop).result()
            return taken

        monkeypatch.setattr(engine.store, "lease", slowly)
        first = await engine.submit("me", Spec("vary", {"prompt": "first"}))
        second = await engine.submit("me", spec("second"))
        assert await drawn(engine, second) == b"second"
        assert workers.batches == [["second"]]
        assert (await heard(engine.events(first.id)))[-1] == "cancelled"
        assert not engine._live

    run(tmp_path, test)


def test_a_job_that_is_taken_before_its_client_knows_is_given_up_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(engine: Engine, workers: Workers) -> None:
        add, loop = engine.store.add, asyncio.get_running_loop()

        async def taken() -> None:
            engine._lanes[0].wake()
            await workers.drawing.wait()

        def slowly(*given: Any) -> Job:
            job = add(*given)
            asyncio.run_coroutine_threadsafe(taken(), loop).result()
            return job

        workers.at_once = False
        monkeypatch.setattr(engine.store, "add", slowly)
        job = await engine.submit("me", spec("a fox"))
        with engine.attending(job.id):
            pass
        ended = await asyncio.wait_for(engine.wait(job.id), 10)
        assert ended is not None and ended.state == "cancelled"

    run(tmp_path, test, patience=0.05)


def test_previews_are_asked_for_when_somebody_watches(tmp_path: Path) -> None:
    async def test(engine: Engine, workers: Workers) -> None:
        workers.at_once = False
        job = await engine.submit("me", spec())
        await workers.drawing.wait()
        assert not [one for one in workers.all[0].heard if one["kind"] == "watch"]
        watching = asyncio.create_task(heard(engine.events(job.id)))
        await asyncio.sleep(0.05)
        assert {"kind": "watch", "previews": {job.id: 0}} in workers.all[0].heard
        for index in range(3):
            workers.all[0].tell(
                {"kind": "preview", "id": job.id, "index": 0, "picture": f"{index}"}
            )
        await asyncio.sleep(0.05)
        workers.all[0].finish()
        assert (await watching)[-1] == "done"
        kept = [event async for event in engine.events(job.id) if event.kind == "preview"]
        assert [event.data["picture"] for event in kept] == ["2"]

    run(tmp_path, test)


def test_previews_that_are_asked_for_by_number_all_arrive(tmp_path: Path) -> None:
    async def test(engine: Engine, workers: Workers) -> None:
        workers.at_once = False
        job = await engine.submit("me", spec())
        watching = asyncio.create_task(_previews(engine, job.id, 3))
        await workers.drawing.wait()
        await asyncio.sleep(0.05)
        assert {"kind": "watch", "previews": {job.id: 3}} in workers.all[0].heard
        for number in (1, 2, 3):  # at once, as of a quick model
            shown = {"index": 0, "picture": f"{number}", "number": number}
            workers.all[0].tell({"kind": "preview", "id": job.id, **shown})
        workers.all[0].finish()
        assert await watching == await _previews(engine, job.id, 3) == ["1", "2", "3"]

    run(tmp_path, test)


async def _previews(engine: Engine, job: str, most: int) -> list[str]:
    told = engine.events(job, previews=most)
    return [event.data["picture"] async for event in told if event.kind == "preview"]


def test_who_wants_no_previews_has_none_made(tmp_path: Path) -> None:
    async def test(engine: Engine, workers: Workers) -> None:
        job = await engine.submit("me", spec())
        assert (await heard(engine.events(job.id, previews=0)))[-1] == "done"
        assert not [one for one in workers.all[0].heard if one["kind"] == "watch"]

    run(tmp_path, test)


def test_a_retry_finds_what_was_done_when_nobody_waited(tmp_path: Path) -> None:
    async def test(engine: Engine, workers: Workers) -> None:
        async def ask(join: bool, stays: bool = True) -> str:
            job = await engine.submit("me", spec(), fingerprint="f", join=join)
            with engine.attending(job.id) if stays else nullcontext():
                assert await drawn(engine, job) == b"a fox"
            return job.id

        lost = await ask(join=False, stays=False)
        assert await ask(join=True) == lost
        other = await ask(join=True)  # what was lost has been given: this is another request
        third = await ask(join=True)
        assert len({lost, other, third}) == len(workers.batches) == 3

    run(tmp_path, test)


def test_a_full_queue_stores_no_file(tmp_path: Path) -> None:
    async def test(engine: Engine, workers: Workers) -> None:
        workers.at_once = False
        await engine.submit("me", spec())
        await workers.drawing.wait()
        await engine.submit("me", spec(), fingerprint="f")
        for join, mark in ((False, "f"), (True, "g")):
            with pytest.raises(QueueFull):
                await engine.submit("me", spec(), {"image": b"a picture"}, mark, join)
        assert not [one for one in (tmp_path / "inputs").rglob("*") if one.is_file()]
        await engine.submit("me", spec(), {"image": b"a picture"}, "f", join=True)

    run(tmp_path, test, queued=1)


def test_ended_jobs_keep_few_previews() -> None:
    logs = Logs()
    for job in map(str, range(SHOWN + 5)):
        logs[job].add("preview", index=0, picture="large")
        logs[job].add("done")
        logs.prune()

    async def kinds(job: int) -> list[str]:
        return [event.kind async for event in logs[str(job)].follow()]

    assert asyncio.run(kinds(4)) == ["done"]
    assert asyncio.run(kinds(5)) == ["preview", "done"]


def test_models_that_cannot_be_loaded_are_the_starts_error(tmp_path: Path) -> None:
    async def within() -> None:
        workers, store = Workers(), Store(tmp_path)
        workers.greeting = {"kind": "broken", "message": "weights are damaged"}
        engine = Engine(store, EngineOptions({"tiny": "tiny"}), workers)
        with pytest.raises(NoWorker, match="weights are damaged"):
            await engine.start()
        await engine.stop()
        store.close()

    asyncio.run(within())


def test_two_workers_draw_at_once_and_each_has_its_own_jobs(tmp_path: Path) -> None:
    async def test(engine: Engine, workers: Workers) -> None:
        workers.at_once = False
        one, other = [await engine.submit("me", spec(name)) for name in ("one", "other")]
        while len(workers.batches) < 2:
            await asyncio.sleep(0.01)
        assert workers.batches == [["one"], ["other"]]
        holder = {b[0]: fake for fake in workers.all if (b := fake.prompts())}
        assert await engine.cancel(one.id)
        assert {"kind": "cancel", "id": one.id} in holder["one"].heard
        assert {"kind": "cancel", "id": one.id} not in holder["other"].heard
        holder["other"].finish()
        assert await drawn(engine, other) == b"other"

    run(tmp_path, test, workers=2)


def test_workers_grow_while_jobs_wait_and_go_when_they_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.server.engine.SCALING", 0.02)

    async def test(engine: Engine, workers: Workers) -> None:
        workers.at_once = False
        jobs = [await engine.submit("me", Spec("vary", {"prompt": f"{n}"})) for n in range(5)]
        while len(workers.batches) < 3:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert (engine.workers, len(workers.batches)) == (3, 3)
        workers.at_once = True
        for fake in workers.all:
            fake.finish()
        for job in jobs:
            await drawn(engine, job)
        while engine.workers > 1:
            await asyncio.sleep(0.01)
        await drawn(engine, await engine.submit("me", spec("again")))

    run(tmp_path, test, most_workers=3, rest=0.1)


def test_a_further_worker_that_cannot_load_its_models_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def within() -> None:
        workers, store = Workers(), Store(tmp_path)
        ready, broken = workers.greeting, {"kind": "broken", "message": "no memory is left"}

        async def launch() -> Fake:
            workers.greeting = broken if workers.all else ready
            return await workers()

        engine = Engine(store, EngineOptions({"tiny": "tiny"}, workers=2), launch)
        await engine.start()
        while engine.workers > 1:
            await asyncio.sleep(0.01)
        assert await drawn(engine, await engine.submit("me", spec("a fox"))) == b"a fox"
        await engine.stop()
        store.close()

    asyncio.run(asyncio.wait_for(within(), 60))
    assert "no memory is left" in caplog.text
