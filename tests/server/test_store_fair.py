"""Owners take turns, and a batch holds what one may hold: properties of every queue."""

from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from unclip.server.fair import Waiting, choose, order, place

OWNERS = st.sampled_from("abcd")
JOBS = st.lists(st.tuples(OWNERS, st.integers(1, 5), st.sampled_from(["", "x", "y"])), max_size=25)
TURNS = st.dictionaries(OWNERS, st.integers(1, 9))


def queue(jobs: list[tuple[str, int, str]]) -> list[Waiting]:
    return [Waiting(number, *job) for number, job in enumerate(jobs, 1)]


@given(JOBS, TURNS)
def test_order_is_a_round_robin(jobs: list[tuple[str, int, str]], turns: dict[str, int]) -> None:
    waiting = queue(jobs)
    found = order(waiting, turns)
    assert sorted(found, key=lambda job: job.number) == waiting
    left = Counter(job.owner for job in waiting)
    rounds = []  # by the definition: each owner once, as long as they have jobs
    while left:
        rounds.append(set(left))
        left -= Counter(set(left))
    start = 0
    for owners in rounds:
        turn = [job.owner for job in found[start : start + len(owners)]]
        assert set(turn) == owners and len(turn) == len(owners)
        assert [turns.get(owner, 0) for owner in turn] == sorted(turns.get(one, 0) for one in turn)
        start += len(owners)
    for owner in "abcd":
        numbers = [job.number for job in found if job.owner == owner]
        assert numbers == sorted(numbers)


@given(JOBS, TURNS)
def test_places_are_those_of_the_order(
    jobs: list[tuple[str, int, str]], turns: dict[str, int]
) -> None:
    found = order(queue(jobs), turns)
    numbers = {owner: sorted(job.number for job in found if job.owner == owner) for owner in "abcd"}
    lines = {owner: (len(line), line[0]) for owner, line in numbers.items() if line}
    for at, job in enumerate(found):
        behind = numbers[job.owner].index(job.number)
        assert place(job.owner, behind, lines, turns) == at


@given(JOBS, TURNS, st.integers(1, 8))
def test_a_batch(jobs: list[tuple[str, int, str]], turns: dict[str, int], most: int) -> None:
    waiting = queue(jobs)
    chosen = choose(waiting, turns, most)
    assert len(chosen) == len(set(chosen)) and set(chosen) <= set(waiting)
    if not waiting:
        assert chosen == []
        return
    assert chosen[0] == order(waiting, turns)[0]
    if len(chosen) > 1:
        assert {job.batch for job in chosen} == {chosen[0].batch} != {""}
        assert sum(job.pictures for job in chosen) <= most
    if not chosen[0].batch:
        return
    free = most - sum(job.pictures for job in chosen)
    alike = defaultdict(list)
    for job in waiting:
        if job.batch == chosen[0].batch:
            alike[job.owner].append(job)
    counts = Counter(job.owner for job in chosen)
    for owner, line in alike.items():
        assert set(line[: counts[owner]]) == {job for job in chosen if job.owner == owner}
        rest = line[counts[owner] :]
        if rest and rest[0].pictures <= free:  # nothing that fits is left behind ...
            raise AssertionError(f"{rest[0]} fits")
        if rest and all(job.pictures == 1 for job in waiting):  # ... and places are shared evenly
            assert counts[owner] >= max(counts.values()) - 1


@settings(max_examples=50)
@given(st.lists(JOBS, min_size=1, max_size=12), st.integers(1, 8))
def test_nobody_waits_for_more_than_a_turn_of_each_other(
    arrivals: list[list[tuple[str, int, str]]], most: int
) -> None:
    """Whatever others add meanwhile, an owner's oldest job is next after one of each of them."""
    waiting: list[Waiting] = []
    turns: dict[str, int] = {}
    passed: dict[int, Counter[str]] = {}  # an owner's oldest job -> firsts of others since
    for number, jobs in enumerate([*arrivals, *[[] for _ in range(300)]]):
        waiting += [
            Waiting(1000 * number + job.number, job.owner, job.pictures, job.batch)
            for job in queue(jobs)
        ]
        if not (chosen := choose(waiting, turns, most)):
            continue
        turns[chosen[0].owner] = number + 1
        oldest = {}
        for job in waiting:
            oldest.setdefault(job.owner, job.number)
        for owner, job in oldest.items():
            if owner != chosen[0].owner:
                passed.setdefault(job, Counter())[chosen[0].owner] += 1
                assert max(passed[job].values()) <= 1
        waiting = [job for job in waiting if job not in chosen]
    assert waiting == []
