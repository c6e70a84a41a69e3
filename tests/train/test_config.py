"""How a stage is trained: batch sizes that grow as the ramp says."""

from __future__ import annotations

from itertools import islice
from math import inf
from typing import Any

import pytest

from unclip.train.config import TrainConfig


def test_batch_ramp() -> None:
    config = TrainConfig(batch_size=4, ramp=((10, 8), (20, 16)))
    sizes = [config.batch_at(step) for step in (0, 9, 10, 19, 20, 999)]
    assert sizes == [4, 4, 8, 8, 16, 16]


@pytest.mark.parametrize(
    ("ramp", "stretches"),
    [
        ((), [(10, 4)]),
        (((6, 8),), [(6, 4), (4, 8)]),
        (((0, 2), (5, 16)), [(5, 2), (5, 16)]),
        (((2, 8), (10, 99), (50, 999)), [(2, 4), (8, 8)]),
    ],
)
def test_stretches_of_a_ramp(ramp: tuple[Any, ...], stretches: list[tuple[int, int]]) -> None:
    config = TrainConfig(steps=10, batch_size=4, ramp=ramp)
    assert list(config.stretches(10)) == stretches
    sizes = [size for count, size in stretches for _ in range(count)]
    assert sizes == [config.batch_at(step) for step in range(10)]


def test_the_last_stretch_has_no_end() -> None:
    config = TrainConfig(batch_size=4, ramp=((6, 8),))
    assert list(islice(config.stretches(), 3)) == [(6, 4), (inf, 8)]
