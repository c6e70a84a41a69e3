"""A batch waits for those who are about to come, and never for others."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from unclip.server import gathering
from unclip.server.engine import Engine
from unclip.server.gathering import QUIET, SHARE, Gathering
from unclip.server.protocol import Message

from .conftest import spec
from .test_engine import Fake, Workers, run

CLIENTS = 16


class Clock:
    """Seconds, as a test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gather(clock: Clock) -> Gathering:
    """After a batch of ten seconds."""
    made = Gathering(clock)
    made.took(10.0)
    return made


def test_without_anybody_who_may_come_a_batch_begins_at_once(gather: Gathering) -> None:
    assert gather.left(100.0) == 0
    with gather.arriving():
        pass
    assert gather.left(100.0) == 0


def test_a_single_client_that_asks_again_does_not_wait(gather: Gathering, clock: Clock) -> None:
    for _ in range(5):
        gather.answered()
        clock.now += 0.004
        with gather.arriving():
            clock.now += 0.01
        assert gather.left(clock.now) == 0


def test_a_batch_waits_for_those_who_have_just_been_answered(
    gather: Gathering, clock: Clock
) -> None:
    gather.answered()
    gather.answered()
    assert gather.left(100.0) == pytest.approx(QUIET)
    clock.now += 0.8 * QUIET
    with gather.arriving():  # one is back: the other may be as well soon
        pass
    assert gather.left(100.0) == pytest.approx(QUIET)
    clock.now += 0.5 * QUIET
    with gather.arriving():
        pass
    assert gather.left(100.0) == 0


def test_who_does_not_come_back_is_not_waited_for(gather: Gathering, clock: Clock) -> None:
    gather.answered()
    clock.now += QUIET
    assert gather.left(clock.now) == 0
    clock.now -= QUIET  # and is forgotten
    assert gather.left(clock.now) == 0


def test_a_request_on_its_way_is_waited_for_but_not_for_long(
    gather: Gathering, clock: Clock
) -> None:
    with gather.arriving():
        clock.now += 5 * QUIET
        assert gather.left(clock.now) == pytest.approx(SHARE * 10.0)
        assert gather.left(clock.now - SHARE * 10.0) <= 0
        gather.took(0.1)  # short batches have no time for it
        assert gather.left(clock.now) == pytest.approx(SHARE * 0.1)


def test_it_returns_when_the_last_has_come_or_the_batch_is_full() -> None:
    async def within() -> None:
        gather = Gathering()
        gather.took(1000.0)
        count = 1

        async def waiting() -> int:
            return count

        with gather.arriving():
            ready = asyncio.create_task(gather.wait(waiting, 3))
            await asyncio.sleep(0.05)
            assert not ready.done()
        assert await asyncio.wait_for(ready, 5)
        with gather.arriving():
            ready = asyncio.create_task(gather.wait(waiting, 3))
            await asyncio.sleep(0.05)
            assert not ready.done()
            count = 3
            with gather.arriving():
                pass
            assert await asyncio.wait_for(ready, 5)
            count = 0
            assert not await asyncio.wait_for(gather.wait(waiting, 3), 5)

    asyncio.run(within())


class Slow(Fake):
    """A worker that takes its time for a batch."""

    async def send(self, message: Message) -> None:
        await super().send(message)
        if message["kind"] == "draw":
            asyncio.get_running_loop().call_later(0.2, self.finish, message["jobs"])


class SlowWorkers(Workers):
    """Launches them."""

    async def __call__(self) -> Fake:
        self.at_once = False
        self.all.append(Slow(self))
        return self.all[-1]


def test_clients_that_ask_again_and_again_share_full_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "SHARE", 5.0)  # the disk of a busy machine may be slow
    monkeypatch.setattr(gathering, "QUIET", 0.5)

    async def client(engine: Engine, name: int) -> None:
        for turn in range(4):
            job = await engine.submit("", spec(f"{name}-{turn}"))
            with engine.attending(job.id):
                assert await engine.wait(job.id)
            await asyncio.sleep(0.004 * name)  # until it hears of it, and asks again

    async def test(engine: Engine, workers: Workers) -> None:
        await asyncio.gather(*(client(engine, name) for name in range(CLIENTS)))
        sizes = [len(one) for one in workers.batches]
        assert sum(sizes) == 4 * CLIENTS
        assert sizes.count(CLIENTS) >= 3, sizes  # the first of all came alone

    run(tmp_path, test, SlowWorkers())
