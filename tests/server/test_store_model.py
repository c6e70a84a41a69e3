"""Any sequence of calls and restarts leaves the queue as a list in memory has it."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from unclip.server.job import Drawn, Failure, Spec
from unclip.server.store import QueueFull, Store

MOST = 5
OWNERS = ["a", "b", "c"]
ASKED = st.tuples(st.sampled_from(OWNERS), st.integers(1, 3), st.sampled_from(["x", ""]))
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # a quicker disk, where there is one


@dataclass
class Known:
    """A job as it should be."""

    id: str
    owner: str
    pictures: int
    batch: str
    state: str = "queued"
    deaths: int = 0
    starts: int = 0
    drawn: tuple[Drawn, ...] = ()

    @property
    def alone(self) -> bool:
        return not self.batch or self.deaths > 0 or self.starts > 1


class Queue(RuleBasedStateMachine):
    """The store beside a list of what it should hold."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY))
        self.store = Store(self.folder)
        self.known: list[Known] = []
        self.served: list[str] = []  # owners whose job was the first of a lease, since the start

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    def of(self, *states: str) -> list[Known]:
        return [job for job in self.known if job.state in states]

    @rule(jobs=st.lists(ASKED, min_size=1, max_size=4))
    def add(self, jobs: list[tuple[str, int, str]]) -> None:
        for owner, pictures, batch in jobs:
            full = len(self.of("queued")) >= MOST
            try:
                job = self.store.add(owner, Spec("vary", {}, pictures=pictures, batch=batch), MOST)
            except QueueFull:
                assert full
            else:
                assert not full
                self.known.append(Known(job.id, owner, pictures, batch))

    @rule(most=st.integers(1, 4))
    def lease(self, most: int) -> None:
        jobs = {job.id: job for job in self.of("queued")}
        taken = [jobs[job.id] for job in self.store.lease(most)]
        assert bool(taken) == bool(jobs)
        if not taken:
            return
        first = taken[0]
        ages = {owner: self._waits_since(owner) for owner in {job.owner for job in jobs.values()}}
        assert ages[first.owner] == min(ages.values())  # nobody waits for longer
        lines = {owner: [job for job in jobs.values() if job.owner == owner] for owner in ages}
        assert first == lines[first.owner][0]
        if len(taken) > 1:
            assert not any(job.alone for job in taken)
            assert sum(job.pictures for job in taken) <= most
        for job in taken:
            job.state = "running"
        self.served.append(first.owner)

    def _waits_since(self, owner: str) -> int:
        """The last lease that began with an owner's job; -1 where there was none."""
        return max((at for at, one in enumerate(self.served) if one == owner), default=-1)

    @precondition(lambda self: self.known)
    @rule(data=st.data(), count=st.integers(0, 2))
    def finish(self, data: st.DataObject, count: int) -> None:
        job = data.draw(st.sampled_from(self.known))
        made = [Drawn(secrets.token_hex(16), one, 1, 1, (1, 1), 1) for one in range(count)]
        ended = self.store.finish(job.id, [(one, b"x") for one in made])
        assert (ended is not None) == (job.state == "running")
        if ended is not None:
            job.state, job.drawn = "done", tuple(made)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.known))
        ended = self.store.fail(job.id, Failure("data", "no"))
        assert (ended is not None) == (job.state in ("queued", "running"))
        job.state = "failed" if ended is not None else job.state

    @precondition(lambda self: self.known)
    @rule(data=st.data(), owner=st.sampled_from(OWNERS))
    def cancel(self, data: st.DataObject, owner: str) -> None:
        job = data.draw(st.sampled_from(self.known))
        done = self.store.cancel(job.id, owner)
        assert done == (job.owner == owner and job.state in ("queued", "running"))
        job.state = "cancelled" if done else job.state

    @precondition(lambda self: self.of("queued", "running"))
    @rule(most=st.integers(1, 4), died=st.booleans())
    def lease_and_release(self, most: int, died: bool) -> None:
        self.lease(most)
        running = self.of("running")
        back = self.store.release([job.id for job in running], died)
        for job in running:
            job.deaths += died
            job.state = "failed" if job.deaths == 2 else "queued"
        assert [(job.id, job.state) for job in back] == [(job.id, job.state) for job in running]

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store, self.served = Store(self.folder), []
        for job in self.of("running"):
            job.starts += 1
            job.state = "failed" if job.starts == 10 else "queued"

    @invariant()
    def as_known(self) -> None:
        for owner in OWNERS:
            found = self.store.jobs(owner)
            mine = [job for job in reversed(self.known) if job.owner == owner]
            assert [(job.id, job.state, job.deaths, job.pictures) for job in found] == [
                (job.id, job.state, job.deaths, job.drawn) for job in mine
            ]
        counts = Counter(job.state for job in self.known)
        found_counts = self.store.counts()
        assert found_counts == {state: counts[state] for state in found_counts}


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=8, stateful_step_count=30, deadline=None)
