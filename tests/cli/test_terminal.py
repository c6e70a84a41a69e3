"""Numbers in words, and bars that count what they are told."""

from __future__ import annotations

import pytest

from unclip.cli._terminal import duration, si, size


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (999, "999"), (1500, "1.5 k"), (13_836_428, "13.8 M"), (999_600, "1 M")],
)
def test_si(value: float, words: str) -> None:
    assert si(value) == words


def test_si_with_a_unit() -> None:
    assert si(3.2e12, "FLOP") == "3.2 TFLOP"
    assert si(12, "FLOP") == "12 FLOP"


@pytest.mark.parametrize(
    ("count", "words"),
    [(12, "12 B"), (1536, "1.5 KiB"), (14 * 2**20, "14.0 MiB"), (3 * 2**40, "3.0 TiB")],
)
def test_size(count: int, words: str) -> None:
    assert size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3.21, "3.2 s"),
        (600, "10 min"),
        (7500, "2 h 05 min"),
        (3.5 * 86400, "3.5 days"),
        (4 * 365.25 * 86400, "4 years"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words
