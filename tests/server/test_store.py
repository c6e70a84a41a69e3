"""The queue: a job that is accepted ends once, and an owner meets no other."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from unclip.errors import UsageError
from unclip.server.job import Drawn, Failure, Finish, Job, Spec
from unclip.server.store import QueueFull, Room, Store

DIED = "its worker process died 2 times while it drew this"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "data")
    yield store
    store.close()


def spec(**changes: Any) -> Spec:
    return Spec(**{"ability": "generate", "fields": {"prompt": "a fox"}, **changes})


def add(store: Store, owner: str = "me", most: int = 100, **changes: Any) -> Job:
    return store.add(owner, spec(**changes), most)


Draw = Callable[..., list[tuple[Drawn, bytes]]]


@pytest.fixture
def draw() -> Draw:
    """`draw(*contents)`: pictures as the engine gives them, each with its bytes."""

    def made(*contents: bytes) -> list[tuple[Drawn, bytes]]:
        return [
            (Drawn(secrets.token_hex(16), seed, 8, 4, (2, 1), len(data), "webp"), data)
            for seed, data in enumerate(contents)
        ]

    return made


def files(store_folder: Path) -> list[Path]:
    return [path for path in store_folder.rglob("*") if path.is_file()]


def test_a_job_keeps_all_that_was_asked_through_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = store.put_input(b"picture")
    asked = Spec(
        "edit",
        {"prompt": "ein Füchslein, 狐狸 \ud800", "settings": {"eta": 0.5}, "n": None},
        {"image": digest},
        "tiny",
        3,
        "edit {}",
        Finish((8, 4), "webp", 70),
    )
    job = store.add("me", asked, 1)
    assert (job.spec, job.owner, job.state, job.started) == (asked, "me", "queued", 0)
    assert len(job.id) == 32 and int(job.id, 16)
    store.close()
    again = Store(tmp_path)
    assert again.job(job.id) == job
    assert again.input_path(digest).read_bytes() == b"picture"
    assert digest == hashlib.sha256(b"picture").hexdigest()
    again.close()


def test_pictures_are_kept_with_the_job_that_ends(store: Store, draw: Draw) -> None:
    job = add(store, pictures=2)
    assert [one.state for one in store.lease(4)] == ["running"]
    pictures = draw(b"first", b"second")
    ended = store.finish(job.id, pictures)
    assert ended is not None and ended.state == "done" and ended.finished >= ended.started > 0
    assert ended.pictures == tuple(one for one, _ in pictures)
    assert ended == store.job(job.id)
    found = [store.picture(one.id) for one, _ in pictures]
    assert [one.path.read_bytes() for one in found if one] == [b"first", b"second"]
    assert [one.owner for one in found if one] == ["me", "me"]


@pytest.mark.parametrize("end", ["finish", "cancel", "fail"])
def test_a_job_ends_once(store: Store, draw: Draw, tmp_path: Path, end: str) -> None:
    job = add(store)
    store.lease(1)
    if end == "finish":
        store.finish(job.id, draw(b"first"))
    elif end == "cancel":
        assert store.cancel(job.id)
    else:
        assert store.fail(job.id, Failure("usage", "prompt is too long", "prompt"))
    ended = store.job(job.id)
    before = files(tmp_path / "data" / "pictures")
    assert store.finish(job.id, draw(b"second")) is None
    assert store.fail(job.id, Failure("usage", "late")) is None
    assert not store.cancel(job.id)
    assert store.release([job.id], died=True) == []
    assert store.job(job.id) == ended
    assert files(tmp_path / "data" / "pictures") == before
    assert store.lease(1) == []


def test_a_job_cancelled_while_its_pictures_move_in_keeps_none(
    store: Store, draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = add(store)
    store.lease(1)
    place = store._files.place

    def slow(data: bytes, target: Path) -> None:
        place(data, target)
        assert store.cancel(job.id)

    monkeypatch.setattr(store._files, "place", slow)
    assert store.finish(job.id, draw(b"x")) is None
    ended = store.job(job.id)
    assert ended is not None and ended.state == "cancelled" and ended.pictures == ()
    assert files(tmp_path / "data" / "pictures") == []


def test_a_failure_says_why(store: Store) -> None:
    job, reason = add(store), Failure("usage", "prompt is too long", "prompt")
    ended = store.fail(job.id, reason)
    assert ended is not None and (ended.state, ended.failure) == ("failed", reason)


def test_what_ran_is_queued_again_at_the_start(tmp_path: Path) -> None:
    store = Store(tmp_path)
    ran, waits, stopped = add(store), add(store), add(store)
    store.cancel(stopped.id)
    assert [job.id for job in store.lease(1)] == [ran.id]
    store.close()
    again = Store(tmp_path)
    states = {one.id: one.state for one in again.jobs("me")}
    assert states == {ran.id: "queued", waits.id: "queued", stopped.id: "cancelled"}
    found = again.lease(1)[0]
    assert found.id == ran.id and found.deaths == 0
    again.close()


def test_a_job_that_takes_the_server_down_at_every_start_fails_in_the_end(tmp_path: Path) -> None:
    store = Store(tmp_path)
    poison, other = add(store, batch="b"), add(store, batch="b")
    starts, leased = 0, []
    while True:
        taken = [job.id for job in store.lease(4)]
        if poison.id not in taken:
            break
        leased.append(taken)
        store.close()  # as if killed: what runs stays running
        store, starts = Store(tmp_path), starts + 1
    assert starts == 10
    assert leased[:2] == [[poison.id, other.id]] * 2  # an end is no fault of theirs
    assert all(taken == [poison.id] for taken in leased[2:])  # but others are kept out of it
    assert taken == [other.id]
    failed = store.job(poison.id)
    assert failed is not None and failed.state == "failed" and failed.failure is not None
    assert failed.failure.code == "worker_died" and "ended 10 times" in failed.failure.message
    store.close()


def test_the_second_death_of_a_worker_fails_the_job_alone(store: Store) -> None:
    poison, other = add(store, batch="b"), add(store, batch="b")
    assert [job.id for job in store.lease(4)] == [poison.id, other.id]
    back = store.release([poison.id, other.id], died=True)
    assert [(job.id, job.state, job.deaths) for job in back] == [
        (poison.id, "queued", 1),
        (other.id, "queued", 1),
    ]
    assert [job.id for job in store.lease(4)] == [poison.id]  # alone, and the other is spared
    (ended,) = store.release([poison.id], died=True)
    assert (ended.state, ended.deaths) == ("failed", 2)
    assert ended.failure == Failure("worker_died", DIED)
    assert [job.id for job in store.lease(4)] == [other.id]


def test_a_job_with_a_death_joins_nobodys_batch(store: Store) -> None:
    dead = add(store, batch="b")
    store.lease(4)
    store.release([dead.id], died=True)
    fresh = [add(store, owner, batch="b") for owner in ("b", "c")]
    taken = [[job.id for job in store.lease(4)] for _ in range(2)]
    assert sorted(map(len, taken)) == [1, 2]
    assert [dead.id] in taken and [job.id for job in fresh] in taken


def test_a_job_that_is_put_back_has_no_death(store: Store) -> None:
    job = add(store)
    store.lease(1)
    (back,) = store.release([job.id], died=False)
    assert (back.state, back.deaths, back.started) == ("queued", 0, 0)


def test_the_queue_is_bounded_and_running_jobs_do_not_count(store: Store) -> None:
    first, _ = add(store, most=2), add(store, "other", most=2)
    with pytest.raises(QueueFull, match="2 jobs wait"):
        add(store, "third", most=2)
    store.lease(1)
    assert add(store, most=2).state == "queued"
    assert store.counts() == {"queued": 2, "running": 1, "done": 0, "failed": 0, "cancelled": 0}
    store.cancel(first.id)
    assert store.counts()["cancelled"] == 1


RETRY = Room(1, joins=frozenset())


def test_a_retry_joins_its_living_first(store: Store) -> None:
    retry = Room(9, joins=frozenset())
    first = store.add("me", spec(), 1, fingerprint="f")
    assert store.add("me", spec(), RETRY, "f") == first  # though it is full
    store.lease(1)
    assert store.add("me", spec(), RETRY, "f").id == first.id
    others = [
        store.add("other", spec(), retry, "f"),
        store.add("me", spec(), retry, "g"),
        store.add("me", spec(), retry),
        store.add("me", spec(), 9, fingerprint="f"),
    ]
    assert len({first.id, *(job.id for job in others)}) == 5
    assert store.add("me", spec(), RETRY, "f").id == others[-1].id
    for job in (first, others[-1]):
        store.cancel(job.id)
    assert store.add("me", spec(), retry, "f").id not in (
        first.id,
        others[-1].id,
    )


def test_a_retry_joins_one_that_is_done_and_named(store: Store, draw: Draw) -> None:
    one, other = (store.add("me", spec(), 9, "f") for _ in range(2))
    while leased := store.lease(9):
        (job,) = leased
        store.finish(job.id, draw(*[b"a"] * job.spec.pictures))
    for job in (one, other):
        assert store.add("me", spec(), Room(1, joins=frozenset({job.id})), "f").id == job.id
    for owner, mark in (("you", "f"), ("me", "g")):
        assert store.add(owner, spec(), Room(9, joins=frozenset({one.id})), mark).state == "queued"


def test_one_owner_cannot_fill_the_queue(store: Store) -> None:
    room = Room(4, each=2)
    for _ in range(2):
        store.add("greedy", spec(), room)
    with pytest.raises(QueueFull, match="2 jobs wait"):
        store.check_room("greedy", room)
    with pytest.raises(QueueFull, match="2 jobs wait"):
        store.add("greedy", spec(), room)
    for owner in ("a", "b"):
        store.check_room(owner, room)
        store.add(owner, spec(), room)
    with pytest.raises(QueueFull, match="4 jobs wait"):
        store.add("a", spec(), room)
    assert store.waiting("greedy") == (4, 2)


def test_owners_see_and_cancel_only_their_own(store: Store) -> None:
    mine, other = add(store, "me"), add(store, "other")
    assert [job.id for job in store.jobs("me")] == [mine.id]
    assert store.job(other.id, "me") is None and store.job(other.id, "other") == other
    assert not store.cancel(other.id, "me")
    assert store.jobs("me", before=other.id) == []  # not even as a place to go on from
    assert store.job("nothing") is None and not store.cancel("nothing")
    assert store.cancel(other.id, "other")


def test_jobs_are_listed_by_pages_and_states(store: Store) -> None:
    made = [add(store) for _ in range(7)]
    pages, before = [], None
    while page := store.jobs("me", limit=3, before=before):
        pages.append([job.id for job in page])
        before = page[-1].id
    newest = [job.id for job in reversed(made)]
    assert pages == [newest[:3], newest[3:6], newest[6:]]
    store.cancel(made[4].id)
    assert [job.id for job in store.jobs("me", "cancelled")] == [made[4].id]
    assert [job.id for job in store.jobs("me", "queued", 2, made[5].id)] == newest[3:5]


def test_places_are_those_of_the_turns(store: Store) -> None:
    a = [add(store, "a") for _ in range(3)]
    b = add(store, "b")
    turn = [a[0].id, b.id, a[1].id, a[2].id]
    while turn:
        assert [store.place(id) for id in turn] == list(range(len(turn)))
        assert store.lease(1)[0].id == turn.pop(0)
    assert store.place(a[0].id) == store.place("nothing") == 0


def test_models_that_are_not_asked_for_wait(store: Store) -> None:
    one, two = add(store, model="one"), add(store, model="two")
    assert store.lease(1, []) == []
    assert [job.id for job in store.lease(4, ["two"])] == [two.id]
    assert store.lease(4, ["two"]) == []
    assert [job.id for job in store.lease(4)] == [one.id]


def test_models_share_no_batch(store: Store) -> None:
    one, two = add(store, model="one", batch="b"), add(store, model="two", batch="b")
    assert [[job.id for job in store.lease(4)] for _ in range(2)] == [[one.id], [two.id]]


@pytest.mark.parametrize("digest", ["../../etc/passwd", "A" * 64, "0" * 63, "", "0" * 65, None])
def test_inputs_have_digests_and_no_paths(store: Store, digest: str) -> None:
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        store.input_path(digest)
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        add(store, inputs={"image": digest})


def test_a_job_without_its_input_is_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="upload it again"):
        add(store, inputs={"image": "0" * 64})
    assert store.jobs("me") == []


def test_threads_share_the_store(store: Store, draw: Draw) -> None:
    done = threading.Event()

    def ask(owner: str) -> list[str]:
        return [add(store, owner, batch="b").id for _ in range(8)]

    def work() -> list[str]:
        ended: list[Job | None] = []
        while not done.is_set() or store.counts()["queued"]:
            ended += [store.finish(job.id, draw(b"x")) for job in store.lease(3)]
        return [job.id for job in ended if job is not None]

    def look() -> int:
        longest = 0
        while not done.is_set():
            longest = max([longest, *(store.place(job.id) for job in store.jobs("a", limit=1))])
        return longest

    with ThreadPoolExecutor(8) as pool:
        looking, *working = [pool.submit(one) for one in (look, work, work, work)]
        added = [id for ids in pool.map(ask, "abcd") for id in ids]
        done.set()
        ended = Counter(id for one in working for id in one.result())
    assert ended == Counter(added) and len(ended) == 32
    assert 0 < looking.result() <= 32 and store.counts()["done"] == 32
