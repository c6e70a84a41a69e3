"""Intervals and agreement against published figures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unclip.errors import UsageError
from unclip.pages.intervals import kappa, wilson


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_newcombes_table(right: int, total: int, low: float, high: float) -> None:
    assert wilson(right, total) == pytest.approx((low, high), abs=6e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_mirrors(case: tuple[int, int]) -> None:
    right, total = case
    low, high = wilson(right, total)
    assert 0 <= low <= right / total <= high <= 1
    other = wilson(total - right, total)
    assert (1 - other[1], 1 - other[0]) == pytest.approx((low, high))


def test_wilson_of_nothing_knows_nothing_and_refuses_what_cannot_be() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(UsageError, match=r"right must be in 0\.\.3, got 4"):
        wilson(4, 3)
    with pytest.raises(UsageError, match="confidence"):
        wilson(1, 3, confidence=1.0)


def test_kappa_of_a_worked_example_and_its_ends() -> None:
    first = [True] * 25 + [False] * 25
    second = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert kappa(first, second) == pytest.approx(0.4)  # 0.7 seen, 0.5 by chance
    assert kappa(first, first) == 1.0
    assert kappa([True] * 4, [True] * 4) == 1.0
    assert kappa(first, [not one for one in first]) == pytest.approx(-1.0)
    with pytest.raises(UsageError, match="as many: 2 and 1"):
        kappa([True, False], [True])
