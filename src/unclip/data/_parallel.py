"""Work on many files in several processes, with results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from typing import Protocol, TypeVar

from ..errors import DataError

CHUNK = 16
"""Tasks that a process gets at once."""

AHEAD = 2
"""Chunks a process that wait for it, and no more: their tasks may be pictures in memory."""

A = TypeVar("A")
B = TypeVar("B")


class Map(Protocol):
    """`map`, wherever it is done."""

    def __call__(self, work: Callable[[A], B], tasks: Iterable[A], /) -> Iterator[B]:
        """The results, in the order of the tasks."""


@contextmanager
def processes(count: int) -> Iterator[Map]:
    """Yield a `map` over so many processes; with one, in this one.

    What they do is a function of a module; its arguments and results can be pickled.

    Raises:
        DataError: a process was killed.
    """
    if count <= 1:
        yield map
        return
    pool = ProcessPoolExecutor(count, get_context("spawn"))
    try:
        yield lambda work, tasks: _in_order(pool, work, tasks, count * AHEAD)
    except BrokenProcessPool:
        raise DataError(
            "a process was killed (is memory short?); the same command with --workers 1 needs less"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: ProcessPoolExecutor, work: Callable[[A], B], tasks: Iterable[A], most: int
) -> Iterator[B]:
    chunks = _chunks(iter(tasks))
    waiting: deque[Future[list[B]]] = deque(
        pool.submit(_all, work, one) for one in islice(chunks, most)
    )
    while waiting:
        yield from waiting.popleft().result()
        waiting.extend(pool.submit(_all, work, one) for one in islice(chunks, 1))


def _chunks(tasks: Iterator[A]) -> Iterator[list[A]]:
    while several := list(islice(tasks, CHUNK)):
        yield several


def _all(work: Callable[[A], B], tasks: list[A]) -> list[B]:
    return [work(one) for one in tasks]
