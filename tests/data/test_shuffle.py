"""Each stored sample comes once an epoch, and only a few units are read at a time."""

from __future__ import annotations

import pickle
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unclip.data._shuffle import Memo, Order
from unclip.errors import DataError

COUNTS = st.lists(st.integers(0, 5), min_size=1, max_size=9).filter(any)


@given(COUNTS, st.integers(0, 3), st.integers(1, 10), st.integers(0, 50))
def test_every_sample_comes_once_an_epoch(
    counts: list[int], seed: int, window: int, epoch: int
) -> None:
    order, total = Order(counts, seed, window), sum(counts)
    places = [order.place(epoch * total + rest) for rest in range(total)]
    every = [(unit, number) for unit, count in enumerate(counts) for number in range(count)]
    assert sorted(places) == every
    again = pickle.loads(pickle.dumps(order))
    assert [again.place(epoch * total + rest) for rest in reversed(range(total))] == places[::-1]


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 3))
def test_no_more_than_a_window_of_units_is_read_at_a_time(
    units: int, window: int, seed: int
) -> None:
    """With 3 samples in each, the units of samples 3 * window * n and on are at most `window`."""
    order = Order([3] * units, seed, window)
    places = [order.place(position)[0] for position in range(3 * units)]
    for first in range(0, len(places), 3 * window):
        read = places[first : first + 3 * window]
        assert len(set(read)) == len(read) // 3


def test_epochs_and_windows_are_shuffled() -> None:
    order = Order([50, 50, 50, 50], 0, 2)
    epochs = [[order.place(200 * epoch + rest) for rest in range(200)] for epoch in range(2)]
    assert epochs[0] != epochs[1]
    assert {unit for unit, _ in epochs[0][:20]} == {unit for unit, _ in epochs[0][:100]}
    assert [number for _, number in epochs[0][:100]] != sorted(n for _, n in epochs[0][:100])


def test_a_billion_samples_take_no_room() -> None:
    """A hundred thousand tars of ten thousand each: numbers for the tars and for a window."""
    tracemalloc.start()
    try:
        order = Order([10_000] * 100_000, 0, 16)
        places = [order.place(position) for position in range(999_999_000, 1_000_001_000, 100)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(set(places)) == len(places) == 20
    assert all(0 <= unit < 100_000 and 0 <= number < 10_000 for unit, number in places)
    assert peak < 20e6


def test_there_must_be_samples() -> None:
    with pytest.raises(DataError, match="no samples"):
        Order([0, 0], 0, 1)


def test_a_memo_keeps_the_latest() -> None:
    made: list[int] = []

    def square(number: int) -> int:
        made.append(number)
        return number * number

    memo = Memo(square, 2)
    assert [memo(n) for n in (1, 2, 1, 3, 1, 2)] == [1, 4, 1, 9, 1, 4]
    assert made == [1, 2, 3, 2]
