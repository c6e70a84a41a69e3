"""Batch number b holds the same samples whoever makes it."""

from __future__ import annotations

import gc
import multiprocessing as mp
import os
import pickle
import signal
import time
from typing import Any

import pytest

from unclip.errors import WorkersLostError
from unclip.nn.tokenizer import Tokenizer
from unclip.train.collate import Collate
from unclip.train.loader import REPLACED, Loader

SIZE = (4, 4)
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a single core


@pytest.fixture
def make(speckles: Any, tokenizer: Tokenizer) -> Any:
    def make(batch: int = 3, workers: int = 0, rank: int = 0, world: int = 1) -> Loader:
        return Loader(speckles(SIZE), Collate(tokenizer), batch, workers, rank, world)

    return make


def positions(loader: Loader, batches: int) -> list[list[int]]:
    """The samples in the next batches; the first pixel of each tells its position."""
    return [next(loader)["image"][:, 0, 0, 0].tolist() for _ in range(batches)]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_order_does_not_depend_on_the_number_of_workers(workers: int, make: Any) -> None:
    expected = [[3 * b, 3 * b + 1, 3 * b + 2] for b in range(7)]
    assert positions(make(workers=workers), 7) == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_it_resumes_exactly_with_any_number_of_workers(workers: int, make: Any) -> None:
    loader = make(workers=workers)
    positions(loader, 4)  # the workers have made more by now, which must not count
    assert loader.state_dict() == {"position": 12}
    fresh = make(workers=2 - workers)
    fresh.load_state_dict(loader.state_dict())
    assert positions(fresh, 3) == positions(loader, 3) == [[12, 13, 14], [15, 16, 17], [18, 19, 20]]
    loader.load_state_dict({"position": 1})
    assert positions(loader, 1) == [[1, 2, 3]]


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_share_the_stream_block_by_block(workers: int, make: Any) -> None:
    ranks = [make(2, workers, rank, 2) for rank in range(2)]
    assert positions(ranks[0], 3) == [[0, 1], [4, 5], [8, 9]]
    assert positions(ranks[1], 3) == [[2, 3], [6, 7], [10, 11]]
    assert ranks[0].state_dict() == ranks[1].state_dict() == {"position": 12}


@pytest.mark.parametrize("workers", [0, 2])
def test_another_batch_size_goes_on_where_the_stream_stands(workers: int, make: Any) -> None:
    loader = make(workers=workers)
    seen = positions(loader, 2)
    loader.resize(5)
    seen += positions(loader, 2)
    loader.resize(5)
    seen += positions(loader, 1)
    loader.resize(1)
    seen += positions(loader, 1)
    assert [len(batch) for batch in seen] == [3, 3, 5, 5, 5, 1]
    assert sum(seen, []) == list(range(22))  # noqa: RUF017


def test_workers_go_with_the_loader(make: Any) -> None:
    """At once, and not when the garbage collector finds them: that takes 5 s a worker."""
    others = set(mp.active_children())
    loader = make(workers=2)
    next(loader)
    workers = set(mp.active_children()) - others
    assert len(workers) == 2
    gc.disable()
    try:
        del loader
        assert not any(worker.is_alive() for worker in workers)
    finally:
        gc.enable()


def killed(others: set[Any], number: int = signal.SIGKILL) -> None:
    """Kill one worker that came after `others`, and wait until it is dead."""
    worker = min(set(mp.active_children()) - others, key=lambda one: one.pid)
    os.kill(worker.pid, number)
    worker.join(10)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_worker_is_replaced_and_no_sample_is_lost(number: int, make: Any) -> None:
    others = set(mp.active_children())
    loader, told = make(workers=2), []
    loader.warn = told.append
    seen = positions(loader, 3)
    killed(others, number)
    time.sleep(0.05)  # nothing is raised where nobody waits for a batch
    seen += positions(loader, 3)
    assert sum(seen, []) == list(range(18))  # noqa: RUF017
    assert told == ["a process that makes batches was killed; another one goes on for it"]
    assert len(set(mp.active_children()) - others) == 2


def test_workers_that_die_while_one_waits_are_replaced(
    speckles: Any, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and not when PyTorch looks for it: that takes 5 s."""
    deadly = mp.Event()
    deadly.set()
    sample = speckles.sample

    def falling(self: Any, position: int) -> Any:
        if position == 5 and deadly.is_set():
            deadly.clear()
            os.kill(os.getpid(), signal.SIGKILL)
        return sample(self, position)

    monkeypatch.setattr(speckles, "sample", falling)
    loader = Loader(speckles(SIZE), Collate(tokenizer), 3, workers=1)
    started = time.monotonic()
    assert positions(loader, 3) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert time.monotonic() - started < 4


def test_workers_that_are_killed_again_and_again_end_it(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One batch between deaths is not enough, however many of these there were."""
    monkeypatch.setattr("unclip.train.loader._SOUND", 2)
    others = set(mp.active_children())
    loader, told = make(workers=1), []
    loader.warn = told.append
    for _ in range(REPLACED):
        next(loader)
        killed(others)
    next(loader)
    killed(others)
    with pytest.raises(WorkersLostError, match=r"killed 4 times.*set workers to 0"):
        next(loader)
    assert len(told) == REPLACED


def test_deaths_long_ago_do_not_count(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unclip.train.loader._SOUND", 2)
    others = set(mp.active_children())
    loader = make(workers=1)
    for _ in range(REPLACED + 2):
        positions(loader, 2)
        killed(others)
    positions(loader, 1)


def test_what_goes_to_workers_can_be_pickled(
    speckles: Any, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it must be where processes are spawned, and not forked."""
    sent: list[bytes] = []

    def made(blocks: Any, **_: Any) -> Any:
        blocks.source = None  # of a class that only these tests have
        sent.append(pickle.dumps(blocks))
        return [{}]

    monkeypatch.setattr("unclip.train.loader.DataLoader", made)
    loader = Loader(speckles(SIZE), Collate(tokenizer), 3, workers=2)
    loader.warn = lambda line: None
    next(loader)
    assert sent


@pytest.mark.parametrize("pin", [False, True])
def test_batches_are_pinned_where_a_gpu_wants_them(
    pin: bool, speckles: Any, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def made(blocks: Any, **options: Any) -> Any:
        asked.update(options)
        return blocks

    monkeypatch.setattr("unclip.train.loader.DataLoader", made)
    loader = Loader(speckles(SIZE), Collate(tokenizer), 3, workers=2, pin=pin)
    next(loader)
    assert asked["pin_memory"] is pin
