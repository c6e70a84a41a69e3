"""Whose turn it is: round-robin over owners, and which jobs one batch draws together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Waiting:
    """A queued job, as far as its turn depends on it.

    Args:
        number: in the order of arrival.
        owner: who asked for it.
        pictures: how many it draws.
        batch: what jobs of one batch have in common; empty: it is drawn alone.
    """

    number: int
    owner: str
    pictures: int = 1
    batch: str = ""


def order(waiting: Iterable[Waiting], turns: Mapping[str, int]) -> list[Waiting]:
    """Jobs in turn: one of each owner, then the next of each; each owner's in order of arrival.

    Args:
        waiting: in the order of arrival.
        turns: owner -> when they last had one; those who had none, or one longest ago, are first.
    """
    lines: dict[str, deque[Waiting]] = {}
    for job in waiting:
        lines.setdefault(job.owner, deque()).append(job)
    ring = deque(_ring({owner: line[0].number for owner, line in lines.items()}, turns))
    found = []
    while ring:
        owner = ring.popleft()
        found.append(lines[owner].popleft())
        if lines[owner]:
            ring.append(owner)
    return found


def place(
    owner: str, behind: int, lines: Mapping[str, tuple[int, int]], turns: Mapping[str, int]
) -> int:
    """How many jobs come before one in `order`, from counts alone.

    Args:
        owner: whose it is.
        behind: how many of their own come before it.
        lines: owner -> how many jobs they have waiting, and the first one's number.
        turns: as for `order`.
    """
    ring = _ring({one: first for one, (_, first) in lines.items()}, turns)
    earlier = ring.index(owner)
    others = (lines[one][0] for one in ring if one != owner)
    rounds = (behind + (1 if at < earlier else 0) for at in range(len(ring) - 1))
    return behind + sum(map(min, others, rounds))


def choose(waiting: Iterable[Waiting], turns: Mapping[str, int], most: int) -> list[Waiting]:
    """The next job, and those that the same batch draws up to `most` pictures, again in turn.

    An owner's line in a batch ends at their first job that is too large for it. That others ride
    along takes no turn from them, so that their oldest job, which may be another, is not put off.
    """
    turn = order(waiting, turns)
    if not turn or not turn[0].batch:
        return turn[:1]
    first = turn[0]
    alike = sorted((job for job in turn[1:] if job.batch == first.batch), key=_arrival)
    free, chosen, ended = most - first.pictures, [first], set[str]()
    for job in order(alike, {**turns, first.owner: max(turns.values(), default=0) + 1}):
        if job.pictures > free:
            ended.add(job.owner)
        if job.owner not in ended:
            chosen.append(job)
            free -= job.pictures
    return chosen


def _ring(firsts: Mapping[str, int], turns: Mapping[str, int]) -> list[str]:
    """Owners in the order of their turns, by when they last had one and by their first job."""
    return sorted(firsts, key=lambda owner: (turns.get(owner, 0), firsts[owner]))


def _arrival(job: Waiting) -> int:
    return job.number
